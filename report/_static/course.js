addEventListener("load", () => {
  // A formula wider than the page scrolls in its line: so that it does by keyboard, too,
  // it can be reached there; one that fits is no stop on the way.
  const reach = new ResizeObserver(seen => seen.forEach(({ target }) => {
    const wide = target.scrollWidth > target.clientWidth;
    for (const [name, value] of [["tabindex", 0], ["role", "group"], ["aria-label", "formula"]])
      wide ? target.setAttribute(name, value) : target.removeAttribute(name);
  }));
  window.MathJax?.startup.promise.then(() => document
    .querySelectorAll("mjx-container[display]").forEach(one => reach.observe(one)));
  // The theme takes the focus from a button that opens a bar: it comes back on closing.
  for (const side of ["primary", "secondary"])
    document.querySelector(`#pst-${side}-sidebar-modal`)?.addEventListener("close", () =>
      document.querySelector(`.${side}-toggle`)?.focus());
});
