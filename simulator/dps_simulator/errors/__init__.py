"""Every answer that refuses something: one table, with where each answer comes from."""
