"use strict";
// What the pages share.  Everything is set as text: names and reasons come from files of others.
const report = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const element = (name, text, cls) => {
    const e = document.createElement(name);
    if (text !== undefined && text !== null) e.textContent = text;
    if (cls) e.className = cls;
    return e;
  };
  const short = (v) => v === null || v === undefined ? "" : Math.abs(v) >= 1e5 || (v !== 0 && Math.abs(v) < 1e-3)
    ? v.toExponential(2) : String(Number(v.toPrecision(4)));
  const count = (v) => v === null || v === undefined ? "" : v.toLocaleString("en");
  const seconds = (v) => v === null || v === undefined ? "" : v.toFixed(v < 10 ? 3 : v < 100 ? 2 : 1);

  // Controls that filter.  They stand in the address, so that a view can be sent to somebody; an address that
  // `elsewhere` knows is its own matter.
  const filters = (controls, apply, elsewhere) => {
    const clear = () => { for (const e of controls) e.value = ""; };
    const remember = () => {
      const state = new URLSearchParams();
      for (const e of controls) if (e.value) state.set(e.id, e.value);
      history.replaceState(null, "", "#" + state);
    };
    const visit = () => {
      const hash = location.hash.slice(1);
      if (elsewhere && elsewhere(hash, () => { clear(); apply(); })) return;
      const state = new URLSearchParams(hash);
      for (const e of controls) {
        e.value = state.get(e.id) ?? "";
        if (e.selectedIndex === -1) e.value = "";
      }
      apply();
    };
    for (const e of controls) e.addEventListener("input", () => { apply(); remember(); });
    document.getElementById("filter").addEventListener("submit", (e) => e.preventDefault());
    addEventListener("hashchange", visit);
    visit();
  };
  return { data, element, short, count, seconds, filters };
})();
