// A formula wider than the page scrolls in its line: so that it does by keyboard, too,
// it can be reached there; one that fits is no stop on the way.
addEventListener("load", () => window.MathJax?.startup.promise.then(() => {
  const reach = new ResizeObserver(seen => {
    for (const { target } of seen) {
      const wide = target.scrollWidth > target.clientWidth;
      for (const [name, value] of [["tabindex", 0], ["role", "group"], ["aria-label", "formula"]])
        wide ? target.setAttribute(name, value) : target.removeAttribute(name);
    }
  });
  document.querySelectorAll("mjx-container[display]").forEach(one => reach.observe(one));
}));
