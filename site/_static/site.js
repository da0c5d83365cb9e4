// What the theme leaves out for whoever reads with a keyboard or a screen reader.
document.addEventListener("DOMContentLoaded", () => {
  // headings of the table of contents say that they are some, and not of which level
  document.querySelectorAll("p.caption[role=heading]").forEach((caption) => caption.setAttribute("aria-level", "2"))
  // code and outputs that are wider than the page can be scrolled with the keyboard, once they have the focus
  document.querySelectorAll("pre, div.output, div.table-wrapper, div.diagram").forEach((region) => {
    if (region.scrollWidth > region.clientWidth) region.tabIndex = 0
  })
})
