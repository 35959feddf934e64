"use strict";
// Scrolls through the slices of the cases in #viewer-data, with reference and prediction laid over the image.
(() => {
  const LONGEST_EDGE = 720; // of the canvas, in its own pixels
  const LINE = 2; // half the width of an outline
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const root = document.getElementById("viewer");
  const at = (name) => document.getElementById(`viewer-${name}`);
  const canvas = at("canvas");
  const pen = canvas.getContext("2d");
  const layer = document.createElement("canvas");
  const inks = new Map(data.labels.map((label) => [label.value, label.color.match(/\w\w/g).map((x) => parseInt(x, 16))]));
  const names = new Map([[0, "background"], ...data.labels.map((label) => [label.value, label.name])]);
  const shown = new Set(data.labels.filter((label) => label.shown).map((label) => label.value));
  let current = null; // the case that is looked at
  let opened = 0; // these count what was asked for, so that what comes late is not drawn over what came after
  let drawn = 0;

  async function unpack(text, bytesPerPixel) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const buffer = await new Response(stream).arrayBuffer();
    return bytesPerPixel === 1 ? new Uint8Array(buffer) : new Uint16Array(buffer);
  }

  async function picture(entry, channel, slice) {
    const key = `${channel}/${slice}`;
    if (!entry.images.has(key)) {
      const image = new Image();
      image.src = entry.channels[channel][slice];
      entry.images.set(key, image.decode().then(() => image));
    }
    return entry.images.get(key);
  }

  // --- one case ---------------------------------------------------------------------------------------------------

  async function open(index) {
    const own = ++opened;
    const entry = data.cases[index];
    entry.images ??= new Map();
    if (!entry.maps) {
      try {
        const texts = [entry.reference, entry.prediction];
        entry.maps = await Promise.all(texts.map((text) => unpack(text, entry.bytes_per_pixel)));
      } catch (error) {
        at("pointer").textContent = "This browser cannot show the overlays; a newer one can.";
        entry.maps = [0, 1].map(() => new Uint8Array(entry.slices.length * entry.width * entry.height));
      }
    }
    if (own !== opened) return;
    current = entry;
    const size = entry.width * entry.height;
    entry.errors ??= entry.slices.map((_, slice) => countErrors(entry, slice * size, size));
    entry.sizes ??= entry.slices.map((_, slice) => countMarked(entry.maps[0], slice * size, size));
    const tall = entry.height * entry.aspect;
    const scale = LONGEST_EDGE / Math.max(entry.width, tall);
    canvas.width = Math.max(1, Math.round(entry.width * scale));
    canvas.height = Math.max(1, Math.round(tall * scale));
    at("slice").max = entry.slices.length - 1;
    at("slice").value = entry.sizes.indexOf(Math.max(...entry.sizes));
    at("slider").hidden = entry.slices.length < 2;
    fillChannels();
    fillLegend();
    for (const [number, side] of ["left", "right", "top", "bottom"].entries()) {
      root.querySelector(`.viewer-end[data-side=${side}]`).textContent = entry.ends[number] ?? "";
    }
    drawProfile();
    draw();
  }

  const countErrors = (entry, begin, size) => {
    const [reference, prediction] = entry.maps;
    let count = 0;
    for (let i = begin; i < begin + size; i++) {
      count += reference[i] !== prediction[i] && reference[i] !== data.ignore;
    }
    return count;
  };

  const countMarked = (map, begin, size) => {
    let count = 0;
    for (let i = begin; i < begin + size; i++) count += map[i] > 0 && map[i] !== data.ignore;
    return count;
  };

  function fillChannels() {
    const channels = Object.keys(current.channels);
    const before = at("channel").value;
    at("channel").replaceChildren(...channels.map((name) => new Option(name, name, false, name === before)));
    at("channel").closest("label").hidden = channels.length < 2;
  }

  function fillLegend() {
    at("legend").replaceChildren(...data.labels.map((label) => {
      const row = document.createElement("tr");
      const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: shown.has(label.value) });
      box.addEventListener("change", () => {
        if (box.checked) shown.add(label.value); else shown.delete(label.value);
        draw();
      });
      const swatch = Object.assign(document.createElement("span"), { className: "viewer-swatch" });
      swatch.style.background = label.color;
      const name = document.createElement("label");
      name.append(box, swatch, label.name);
      row.insertCell().append(name);
      addScores(row, label.name);
      return row;
    }));
    for (const name of Object.keys(current.rows)) {
      if (data.labels.some((label) => label.name === name)) continue;
      const row = at("legend").insertRow(); // a region, which is no value of the maps
      row.insertCell().textContent = name;
      addScores(row, name);
    }
  }

  function addScores(row, name) {
    for (const value of current.rows[name] ?? ["", ""]) row.insertCell().textContent = value;
  }

  // --- one slice --------------------------------------------------------------------------------------------------

  async function draw() {
    const own = ++drawn;
    const entry = current;
    const slice = Number(at("slice").value);
    const image = await picture(entry, at("channel").value, slice);
    if (own !== drawn) return;
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    drawLabels(entry, slice);
    const place = `slice ${entry.slices[slice] + 1} of ${entry.num_slices}`;
    at("position").textContent = entry.num_slices > 1 ? place : "";
    at("slice").setAttribute("aria-valuetext", place);
    canvas.setAttribute("aria-label", `${entry.title}, ${place}`);
    root.dataset.drawn = `${data.cases.indexOf(entry)}/${slice}`;
    for (const near of [slice - 1, slice + 1]) {
      if (near >= 0 && near < entry.slices.length) picture(entry, at("channel").value, near);
    }
  }

  function drawLabels(entry, slice) {
    const { width, height } = canvas;
    const begin = slice * entry.width * entry.height;
    const columns = Array.from({ length: width }, (_, x) => Math.min(entry.width - 1, Math.floor(x * entry.width / width)));
    const rows = Array.from({ length: height }, (_, y) =>
      begin + entry.width * Math.min(entry.height - 1, Math.floor(y * entry.height / height)));
    const pixels = new ImageData(width, height);
    const [reference, prediction] = entry.maps;
    const lines = at("outlines").checked;
    const both = at("reference").checked && at("prediction").checked;
    at("opacity").disabled = lines; // of areas
    const alpha = Math.round(255 * at("opacity").value / 100);
    const grid = { width, height, columns, rows, pixels: pixels.data };
    if (at("prediction").checked) (lines ? drawOutline : drawArea)(prediction, grid, alpha, true);
    if (at("reference").checked) (lines || both ? drawOutline : drawArea)(reference, grid, alpha, false);
    layer.width = width;
    layer.height = height;
    layer.getContext("2d").putImageData(pixels, 0, 0);
    pen.drawImage(layer, 0, 0);
  }

  function drawArea(map, { width, height, columns, rows, pixels }, alpha) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const value = map[rows[y] + columns[x]];
        if (value && shown.has(value)) ink(pixels, 4 * (y * width + x), inks.get(value), alpha);
      }
    }
  }

  function drawOutline(map, { width, height, columns, rows, pixels }, _, dashed) {
    for (let y = 0; y < height; y++) {
      const above = rows[Math.max(0, y - LINE)], below = rows[Math.min(height - 1, y + LINE)];
      for (let x = 0; x < width; x++) {
        const value = map[rows[y] + columns[x]];
        if (!value || !shown.has(value) || (dashed && (x + y) % 12 < 5)) continue;
        const left = columns[Math.max(0, x - LINE)], right = columns[Math.min(width - 1, x + LINE)];
        const inside = map[rows[y] + left] === value && map[rows[y] + right] === value &&
          map[above + columns[x]] === value && map[below + columns[x]] === value;
        if (!inside) ink(pixels, 4 * (y * width + x), inks.get(value), 255);
      }
    }
  }

  function ink(pixels, place, [red, green, blue], alpha) {
    pixels[place] = red;
    pixels[place + 1] = green;
    pixels[place + 2] = blue;
    pixels[place + 3] = alpha;
  }

  function drawProfile() {
    const strip = at("profile");
    const most = Math.max(1, ...current.errors);
    const style = getComputedStyle(root);
    strip.width = 2 * (strip.clientWidth || 300);
    strip.height = 52;
    const brush = strip.getContext("2d");
    const step = strip.width / current.errors.length;
    current.errors.forEach((count, slice) => {
      brush.fillStyle = style.getPropertyValue(current.sizes[slice] ? "--series-1" : "--muted");
      const tall = count ? Math.max(2, 48 * count / most) : 0;
      brush.fillRect(slice * step + 1, 52 - tall, Math.max(1, step - 2), tall);
    });
  }

  // --- what people do ---------------------------------------------------------------------------------------------

  function go(by) {
    const slider = at("slice");
    const wanted = Math.max(0, Math.min(Number(slider.max), Number(slider.value) + by));
    if (!current || wanted === Number(slider.value)) return false;
    slider.value = wanted;
    draw();
    return true;
  }

  function toggle(name) {
    at(name).checked = !at(name).checked;
    draw();
  }

  const keys = {
    ArrowUp: () => go(1), ArrowRight: () => go(1), ArrowDown: () => go(-1), ArrowLeft: () => go(-1),
    PageUp: () => go(10), PageDown: () => go(-10), Home: () => go(-Infinity), End: () => go(Infinity),
    r: () => toggle("reference"), p: () => toggle("prediction"), o: () => toggle("outlines"),
  };

  function tellPointer(event) {
    const box = canvas.getBoundingClientRect();
    const x = Math.floor((event.clientX - box.left) / box.width * current.width);
    const y = Math.floor((event.clientY - box.top) / box.height * current.height);
    if (x < 0 || y < 0 || x >= current.width || y >= current.height) return;
    const place = (Number(at("slice").value) * current.height + y) * current.width + x;
    const [reference, prediction] = current.maps.map((map) => names.get(map[place]) ?? String(map[place]));
    at("pointer").textContent = `reference: ${reference} · prediction: ${prediction}`;
  }

  at("case").replaceChildren(...data.cases.map((entry, index) => new Option(entry.title, index)));
  at("case").addEventListener("change", () => open(Number(at("case").value)));
  for (const name of ["slice", "channel", "reference", "prediction", "outlines", "opacity"]) {
    at(name).addEventListener("input", draw);
  }
  canvas.addEventListener("keydown", (event) => {
    const action = event.ctrlKey || event.metaKey || event.altKey ? undefined : keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  canvas.addEventListener("wheel", (event) => {
    if (event.deltaY && !event.ctrlKey && go(Math.sign(event.deltaY))) event.preventDefault();
  }, { passive: false });
  canvas.addEventListener("pointermove", (event) => current && tellPointer(event));
  canvas.addEventListener("pointerleave", () => { at("pointer").textContent = ""; });
  canvas.addEventListener("pointerdown", () => canvas.focus());
  window.addEventListener("resize", () => current && drawProfile());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => current && drawProfile());
  open(0);
})();
