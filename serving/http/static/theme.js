// Applies the colour scheme chosen earlier before anything is drawn. Loaded first, and not as a module.
"use strict";
{
  const chosen = localStorage.getItem("refdesk.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
