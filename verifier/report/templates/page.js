(() => {
  const { data, element, short, count, seconds } = report;
  const body = document.querySelector("#instances tbody");
  const beside = data.theirs !== null;
  const failed = ["error", "memory"], answered = ["sat", "unsat"];

  const solved = (v) => answered.includes(v);
  const badge = (v) => element("span", v, "verdict " + (solved(v) ? v : failed.includes(v) ? "bad" : "open"));

  const columns = [
    ["benchmark", (r) => r.family, true], ["network", (r) => r.network, true], ["property", (r) => r.property, true],
    ["verdict", (r) => r.verdict, true], ["seconds", (r) => r.seconds], ["domains", (r) => r.domains],
    ["gap", (r) => r.gap],
  ];
  const hints = {
    seconds: "of the whole process", domains: "parts of the question that were bounded",
    gap: "how far the worst open part's bound is from a proof", other: "the other's verdict",
  };
  if (beside) columns.push(["other", (r) => r.other ? r.other.verdict : null, true],
    ["its seconds", (r) => r.other ? r.other.seconds : null]);

  const rows = data.rows.map((r, k) => {
    const tr = element("tr", null, "row");
    tr.id = "instance-" + k;
    tr.addEventListener("click", (e) => {  // anywhere in the row; not where text is being marked
      if (!e.target.closest("button, a") && getSelection().isCollapsed) tr.querySelector("button").click();
    });
    for (const [name, value, text] of columns) {
      const td = element("td", undefined, text ? "text" : "");
      if (name === "network") {
        const button = element("button", r.network);
        button.type = "button";
        button.setAttribute("aria-expanded", "false");
        button.addEventListener("click", () => toggle(r, tr, button));
        td.append(button);
      } else if (name === "verdict") {
        td.append(badge(r.verdict));
        if (r.wrong) td.append(element("span", " wrong: " + r.expected, "bad"));
      } else if (name === "other" && r.other) {
        td.append(badge(r.other.verdict));
        if (r.disagree) td.append(element("span", " disagrees", "bad"));
      } else if (text) td.textContent = value(r) ?? "";
      else td.textContent = name === "domains" ? count(value(r)) : name === "gap" ? short(value(r)) : seconds(value(r));
      tr.append(td);
    }
    const words = [r.family, r.network, r.property, r.verdict, data.texts[r.reason], r.onnx, r.vnnlib];
    body.append(tr);
    return { r, tr, words: words.join(" ").toLowerCase(), details: null };
  });
  const by = new Map(rows.map((x) => [x.tr, x]));

  // Filters.
  const text = document.getElementById("text"), show = document.getElementById("show");
  const family = document.getElementById("family"), told = document.getElementById("count");
  const kinds = {
    "": () => true, answered: (r) => solved(r.verdict), open: (r) => !solved(r.verdict),
    failed: (r) => failed.includes(r.verdict), wrong: (r) => r.wrong, disagree: (r) => Boolean(r.disagree),
    ahead: (r) => solved(r.verdict) && !(r.other && solved(r.other.verdict)),
    behind: (r) => !solved(r.verdict) && Boolean(r.other) && solved(r.other.verdict),
    slower: (r) => solved(r.verdict) && Boolean(r.other) && solved(r.other.verdict) && r.seconds > r.other.seconds,
  };
  const filter = () => {
    const some = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = kinds[show.value] ?? ((r) => r.verdict === show.value);
    let left = 0;
    for (const x of rows) {
      const stays = kind(x.r) && (!family.value || x.r.family === family.value) && some.every((w) => x.words.includes(w));
      x.tr.hidden = !stays;
      if (x.details) x.details.hidden = !stays;
      left += stays;
    }
    told.textContent = `${left.toLocaleString("en")} of ${rows.length.toLocaleString("en")}`;
  };

  // Sorting, by a click on a column's name.
  let sorted = null, up = true;
  const heads = document.querySelector("#instances thead tr");
  columns.forEach(([name, value, isText], k) => {
    const th = element("th", undefined, isText ? "text" : "");
    const button = element("button", name);
    button.type = "button";
    button.title = `${hints[name] ? hints[name] + "; " : ""}sort by it`;
    button.addEventListener("click", () => {
      up = sorted === k ? !up : true;
      sorted = k;
      const sign = up ? 1 : -1;
      rows.sort((a, b) => {
        const [x, y] = [value(a.r), value(b.r)];
        const [none, other] = [x === null || x === undefined, y === null || y === undefined];
        if (none || other) return none - other;  // what has no value comes last either way
        return sign * (isText ? String(x).localeCompare(String(y)) : x - y);
      });
      for (const th of heads.children) th.removeAttribute("aria-sort");
      th.setAttribute("aria-sort", up ? "ascending" : "descending");
      for (const x of rows) { body.append(x.tr); if (x.details) body.append(x.details); }
    });
    th.append(button);
    heads.append(th);
  });

  // Details, made when they are asked for.
  const toggle = (r, tr, button) => {
    const x = by.get(tr);
    if (x.details) { x.details.remove(); x.details = null; }
    else { x.details = details(r); tr.after(x.details); }
    button.setAttribute("aria-expanded", String(Boolean(x.details)));
  };
  const table = (heads, some) => {
    const t = element("table"), head = element("tr");
    for (const h of heads) head.append(element("th", h));
    t.append(head);
    for (const cells of some) {
      const tr = element("tr");
      for (const c of cells) tr.append(c instanceof Node ? c : element("td", c));
      t.append(tr);
    }
    return t;
  };
  const details = (r) => {
    const tr = element("tr", null, "details"), td = element("td");
    td.colSpan = columns.length;
    const reason = data.texts[r.reason];
    td.append(element("h3", solved(r.verdict) ? "What decided it" : "Why it is open"));
    if (reason) td.append(element("p", reason));
    if (r.explained) td.append(element("p", r.explained));
    if (r.parts.length) {
      td.append(table(["disjunct", "short of a proof by", "parts open", "neurons undecided"],
        r.parts.map(([d, g, o, u]) => [d, short(g) || "?", count(o), count(u)])));
      if (r.parts_of > r.parts.length) td.append(element("p", `… and ${count(r.parts_of - r.parts.length)} more`, "muted"));
    }
    if (r.found) counterexample(td, r.found);
    if (r.why.length) {
      td.append(element("h3", "What was chosen, and why"));
      const list = element("ul");
      for (const k of r.why) list.append(element("li", data.texts[k]));
      td.append(list);
    }
    phases(td, r);
    td.append(element("h3", "Again"));
    td.append(element("code", command(r)));
    td.append(element("p", "files: from " + data.sources[r.run], "muted"));
    if (r.files.length) {
      const list = element("ul", null, "digests");
      for (const [name, digest] of r.files) list.append(element("li", `SHA-256 of ${name}: ${digest}`, "muted"));
      td.append(list);
    }
    tr.append(td);
    return tr;
  };
  const quoted = (s) => /^[\w./=+:@%,-]+$/.test(s) ? s : "'" + s.replaceAll("'", "'\\''") + "'";
  const command = (r) => {
    const several = r.onnx.trimStart().startsWith("[");
    const nets = [...r.onnx.matchAll(/\(\s*['"]([^'"]*)['"]\s*,\s*['"]([^'"]*)['"]\s*\)/g)];
    const model = several ? nets.map((m) => "--network " + quoted(m[1] + "=" + m[2])).join(" ") : quoted(r.onnx);
    return `verifier verify ${model} ${quoted(r.vnnlib)}${r.timeout === null ? "" : " --timeout " + r.timeout}`;
  };
  const counterexample = (td, f) => {
    td.append(element("h3", "Counterexample"));
    if (f.constraints.length) {
      td.append(element("p", "What it does that the property describes, with the numbers that came out:"));
      const list = element("ul", null, "constraints");
      for (const c of f.constraints) list.append(element("li", c));
      td.append(list);
    }
    if (f.picture) {
      const img = element("img", null, "shot");
      img.src = f.picture;
      img.alt = "centre of the input box, counterexample, difference";
      const captions = element("div", null, "captions");
      for (const c of ["centre of the input box", "counterexample", "difference (red up, blue down)"]) {
        captions.append(element("span", c));
      }
      td.append(img, captions);
    } else if (f.picture === "") {
      td.append(element("p", "Its picture is left out to keep this page small; `verifier report --figures` writes it.", "muted"));
    }
    if (f.change !== null) td.append(element("p", `Largest distance of an input from the centre of its interval: ${short(f.change)}.`));
    td.append(table(["input", "lower", "value", "upper", ""], f.inputs.map(([name, l, v, u]) => {
      const bar = element("td", undefined, "range");
      if (l !== null && u !== null && v !== null && u > l) {
        const mark = element("b");
        mark.style.left = `calc(.5rem + (100% - 1rem) * ${Math.min(1, Math.max(0, (v - l) / (u - l)))} - 1px)`;
        bar.append(element("i"), mark);
      }
      return [name, l ?? "-", v ?? "-", u ?? "-", bar];
    })));
    if (f.of > f.inputs.length) td.append(element("p", `… of ${count(f.of)} inputs, those ${f.moved ? "farthest from the centre" : "first"}`, "muted"));
    const outputs = f.outputs.map((v, k) => `Y_${k} = ${v ?? "-"}`).join("   ");
    td.append(element("p", "outputs: " + outputs + (f.outputs_of > f.outputs.length ? ` … of ${f.outputs_of}` : "")));
  };
  const phases = (td, r) => {
    const some = Object.entries(r.phases), sum = some.reduce((s, [, v]) => s + v, 0);
    td.append(element("h3", "Time and memory"));
    const colours = ["#9aa3af", "#c9ced6", "#c8641b", "#7fb2a5", "#1f6f8b"];
    if (sum > 0) {
      const bar = element("div", null, "phases");
      some.forEach(([, v], k) => {
        const part = element("div");
        part.style.flex = `${v / sum} 0 0`;
        part.style.background = colours[k % colours.length];
        bar.append(part);
      });
      td.append(bar);
    }
    const words = some.map(([k, v]) => `${k} ${short(v)} s`);
    words.push(`whole process ${short(r.seconds)} s${r.timeout === null ? "" : ` of ${r.timeout} s`}`);
    if (r.memory) words.push(`${count(Math.round(r.memory / 1e6))} MB at most`);
    td.append(element("p", words.join(", ")));
  };

  if (data.alone) toggle(rows[0].r, rows[0].tr, rows[0].tr.querySelector("button"));

  // An address that names an instance, as a click on a point does.
  report.filters([text, show, family], filter, (hash, all) => {
    if (!/^instance-\d+$/.test(hash)) return false;
    all();
    const tr = document.getElementById(hash);
    if (tr && !by.get(tr).details) tr.querySelector("button").click();
    if (tr) tr.scrollIntoView({ block: "start" });
    return true;
  });
})();
