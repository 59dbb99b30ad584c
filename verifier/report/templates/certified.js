(() => {
  const { data, element, count, seconds, filters } = report;
  const text = document.getElementById("text"), show = document.getElementById("show");
  const kind = document.getElementById("class"), told = document.getElementById("count");
  const folder = document.getElementById("images"), more = document.getElementById("more");
  const STEP = 120;  // cards drawn at once: a data set has thousands of images
  let found = [], drawn = 0;

  const card = (i) => {
    const box = element("div", null, "card");
    box.id = "image-" + i.index;
    if (i.picture) {
      const img = element("img");
      img.src = i.picture;
      img.alt = "image " + i.index;
      box.append(img);
    }
    const head = element("p");
    head.append(element("b", "#" + i.index), element("span", ` class ${i.label}` + (i.predicted === i.label ? "" : `, read as ${i.predicted}`)));
    if (i.becomes !== null) head.append(element("span", `, becomes ${i.becomes}`, "verdict attacked"));
    const verdict = element("p");
    verdict.append(element("span", i.fate, "verdict " + i.fate), element("span", ` ${seconds(i.seconds)} s`, "muted"));
    box.append(head, verdict);
    if (i.words) box.append(element("p", i.words, "muted"));
    return box;
  };
  const draw = () => {
    folder.append(...found.slice(drawn, drawn + STEP).map(card));
    drawn = Math.min(found.length, drawn + STEP);
    more.hidden = drawn === found.length;
    more.textContent = `show ${count(Math.min(STEP, found.length - drawn))} more`;
  };
  const filter = () => {
    const some = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const has = (i, w) => /^\d+$/.test(w) ? String(i.index) === w : `${i.fate} ${i.words} ${i.becomes === null ? "" : "becomes " + i.becomes}`.toLowerCase().includes(w);
    found = data.images.filter((i) => (!show.value || i.fate === show.value)
      && (!kind.value || String(i.label) === kind.value) && some.every((w) => has(i, w)));
    told.textContent = `${count(found.length)} of ${count(data.images.length)}`;
    folder.replaceChildren();
    drawn = 0;
    draw();
  };
  more.addEventListener("click", draw);
  filters([text, show, kind], filter);
})();
