"""How true the simulator is: what it supports of the published operations, measured, and where its answers come from.

``make fidelity`` asks a simulator every published operation and writes what it found to ``docs/fidelity.md``, together
with the tables of errors and numbers. The lists of operations are data, one module for each service.
"""
