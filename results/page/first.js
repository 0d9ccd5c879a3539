"use strict";
// Before anything is drawn, the colours that were chosen last time: no flash of the others.
try {
  const chosen = localStorage.getItem("theme");
  if (["light", "dark"].includes(chosen)) document.documentElement.dataset.theme = chosen;
} catch { /* a file's storage may be forbidden */ }
