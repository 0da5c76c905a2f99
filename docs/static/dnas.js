// Names for screen readers that the theme lacks, and keys for listings and tables that scroll sideways.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelector("aside.sidebar-drawer")?.setAttribute("aria-label", "Pages")
  document.querySelector("aside.toc-drawer")?.setAttribute("aria-label", "This page")
  const reachable = () => {
    for (const box of document.querySelectorAll("article pre, article .table-wrapper")) {
      if (box.scrollWidth > box.clientWidth) box.setAttribute("tabindex", "0")
      else box.removeAttribute("tabindex")
    }
  }
  reachable()
  window.addEventListener("resize", reachable)
})
