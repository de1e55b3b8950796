// What the page can do beyond being read: values of charts under the pointer, series that can be
// switched off, grids of samples one at a time. Without it everything is there, side by side.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";

  /** An element with attributes and children. */
  function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  function draw(name, attributes, parent) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return parent.appendChild(element);
  }

  /** Four significant digits, as in the tables. */
  function number(value) {
    if (Number.isInteger(value) && Math.abs(value) < 1e9) return value.toLocaleString("en-US");
    const magnitude = Math.floor(Math.log10(Math.abs(value)));
    if (magnitude < -4 || magnitude >= 7) return value.toExponential(3).replace("e+", "e");
    return value.toFixed(Math.max(0, 3 - magnitude));
  }

  /** Where a value is on its axis, in the units of the drawing. */
  function place(axis, value) {
    const scaled = axis.log ? Math.log10(value) : value;
    return axis.start + ((scaled - axis.low) / (axis.high - axis.low)) * (axis.end - axis.start);
  }

  /** The member of a list with the smallest distance. */
  function nearest(list, distance) {
    let best = 0;
    for (let i = 1; i < list.length; i++) if (distance(list[i]) < distance(list[best])) best = i;
    return best;
  }

  /** What a series has to say at x, unless it ends before or begins after it. */
  function reading(series, x) {
    const points = series.points;
    if (!points.length) return null;
    const point = points[nearest(points, (p) => Math.abs(p[0] - x))];
    const inside = points.some((p) => p[0] <= x) && points.some((p) => p[0] >= x);
    if (!inside) return null;
    const band = series.band.find((b) => b[0] === point[0]);
    let words = number(point[1]);
    if (band) words += ` (${number(band[1])} to ${number(band[2])})`;
    if (point[0] !== x) words += ` at ${number(point[0])}`;
    return { point, words };
  }

  function plot(figure) {
    const data = JSON.parse(figure.querySelector("script").textContent);
    const drawing = figure.querySelector(".drawing");
    const svg = drawing.querySelector("svg");
    const off = new Set();
    let stops = [];
    let at = -1;

    const marks = draw("g", { class: "marks", hidden: "" }, svg);
    const guide = draw("path", { class: "guide" }, marks);
    const dots = data.series.map((_, i) => {
      const drawn = svg.querySelector(`[data-series="${i}"]`);
      const colour = drawn ? drawn.getAttribute("color") : "";
      return draw("circle", { r: 4.5, color: colour, fill: "currentColor" }, marks);
    });
    const tip = drawing.appendChild(make("div", { class: "tip", hidden: "" }));
    drawing.setAttribute("role", "slider");
    drawing.setAttribute("tabindex", "0");
    drawing.setAttribute("aria-label", figure.querySelector("figcaption").textContent);

    function restock() {
      const points = data.series.filter((_, i) => !off.has(i)).flatMap((series) => series.points);
      stops = [...new Set(points.map((point) => point[0]))].sort((a, b) => a - b);
      drawing.setAttribute("aria-valuemin", 0);
      drawing.setAttribute("aria-valuemax", Math.max(0, stops.length - 1));
      drawing.setAttribute("aria-valuenow", 0);
      hide();
    }

    function hide() {
      marks.setAttribute("hidden", "");
      tip.hidden = true;
    }

    function show(index) {
      if (!stops.length) return hide();
      at = Math.min(Math.max(index, 0), stops.length - 1);
      const x = stops[at];
      const left = place(data.x, x);
      guide.setAttribute("d", `M${left} ${data.y.end}V${data.y.start}`);
      const lines = [];
      data.series.forEach((series, i) => {
        const found = off.has(i) ? null : reading(series, x);
        dots[i].toggleAttribute("hidden", !found);
        if (!found) return;
        dots[i].setAttribute("cx", place(data.x, found.point[0]));
        dots[i].setAttribute("cy", place(data.y, found.point[1]));
        lines.push({ name: series.name || data.y.label, words: found.words, key: i });
      });
      tell(`${data.x.label} ${number(x)}`, lines);
      marks.removeAttribute("hidden");
      tip.hidden = false;
      beside(left);
    }

    function tell(heading, lines) {
      const rows = lines.map(({ name, words, key }) => {
        const row = make("div", {}, make("i"), make("span", {}, name), make("b", {}, words));
        row.firstChild.style.background = getComputedStyle(dots[key]).color;
        return row;
      });
      tip.replaceChildren(make("p", {}, heading), ...rows);
      drawing.setAttribute("aria-valuenow", at);
      const spoken = lines.map(({ name, words }) => `${name} ${words}`);
      drawing.setAttribute("aria-valuetext", [heading, ...spoken].join(", "));
    }

    /** Puts the tip to the right of the guide, or to its left where there is more room. */
    function beside(left) {
      const room = drawing.clientWidth;
      const guideAt = (left / svg.viewBox.baseVal.width) * room;
      const right = guideAt + 12;
      const wanted = right + tip.offsetWidth <= room ? right : guideAt - 12 - tip.offsetWidth;
      tip.style.left = `${Math.max(0, Math.min(wanted, room - tip.offsetWidth))}px`;
    }

    function point(event) {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      show(nearest(stops, (stop) => Math.abs(place(data.x, stop) - x)));
    }

    drawing.addEventListener("pointermove", point);
    drawing.addEventListener("pointerdown", point);
    drawing.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hide());
    drawing.addEventListener("blur", hide);
    addEventListener("resize", hide);
    drawing.addEventListener("focus", () => drawing.matches(":focus-visible") && show(at));
    drawing.addEventListener("keydown", (event) => {
      const leap = Math.max(1, Math.round(stops.length / 10));
      const to = {
        ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1,
        PageDown: at - leap, PageUp: at + leap, Home: 0, End: stops.length - 1,
      }[event.key];
      if (event.key === "Escape") hide();
      if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      show(to);
    });

    for (const key of figure.querySelectorAll(".key")) {
      const i = Number(key.dataset.key);
      const button = make("button", { type: "button", "aria-pressed": "true" }, ...key.childNodes);
      button.className = "key";
      button.addEventListener("click", () => {
        if (!off.delete(i)) off.add(i);
        button.setAttribute("aria-pressed", String(!off.has(i)));
        for (const part of svg.querySelectorAll(`[data-series="${i}"]`)) {
          part.toggleAttribute("hidden", off.has(i));
        }
        restock();
      });
      key.replaceWith(button);
    }
    restock();
  }

  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const BLINK = 600;
  let groups = 0;

  /** A group of radio buttons that look like one bar. */
  function choice(label, names, chosen, change) {
    const group = `choice-${groups++}`;
    const options = names.map((name) => {
      const input = make("input", { type: "radio", name: group, value: name });
      input.checked = name === chosen;
      input.addEventListener("change", () => change(name));
      return make("label", {}, input, make("span", {}, name));
    });
    return make("fieldset", {}, make("legend", {}, label), make("div", {}, ...options));
  }

  function flip(box) {
    const figures = [...box.querySelectorAll("figure")];
    if (figures.length < 2) return;
    const all = (key) => [...new Set(figures.map((figure) => figure.dataset[key]))];
    const kinds = ["model", "sampler", "seed"];
    const chosen = Object.fromEntries(kinds.map((key) => [key, all(key)[0]]));
    const models = all("model");
    let other = models[1];
    let swapped = false;
    let timer = 0;

    function update() {
      const wanted = { ...chosen, model: swapped ? other : chosen.model };
      for (const figure of figures) {
        figure.hidden = kinds.some((key) => figure.dataset[key] !== wanted[key]);
      }
      for (const row of box.querySelectorAll(".row")) {
        row.hidden = !row.querySelector("figure:not([hidden])");
      }
    }

    const blink = make("button", { type: "button", "aria-pressed": "false" });
    const against = make("select", { "aria-label": "the model to blink against" });

    function name() {
      const verb = still.matches ? "Swap with" : "Blink against";
      blink.textContent = models.length > 2 ? verb : `${verb} ${other}`;
      const rest = models.filter((model) => model !== chosen.model);
      against.replaceChildren(...rest.map((model) => make("option", {}, model)));
      against.value = other;
    }

    function stop() {
      clearInterval(timer);
      timer = 0;
      swapped = false;
      blink.setAttribute("aria-pressed", "false");
      update();
    }

    function swap() {
      swapped = !swapped;
      update();
    }

    blink.addEventListener("click", () => {
      if (still.matches) {
        swap();
        blink.setAttribute("aria-pressed", String(swapped));
      } else if (timer) {
        stop();
      } else {
        blink.setAttribute("aria-pressed", "true");
        timer = setInterval(swap, BLINK);
        swap();
      }
    });
    still.addEventListener("change", () => {
      stop();
      name();
    });
    against.addEventListener("change", () => {
      other = against.value;
      update();
    });

    const controls = make("div", { class: "controls" });
    for (const key of kinds.filter((key) => all(key).length > 1)) {
      controls.append(choice(key, all(key), chosen[key], (value) => {
        if (key === "model" && value === other) other = chosen.model;
        chosen[key] = value;
        name();
        update();
      }));
    }
    if (models.length > 1) {
      controls.append(make("div", { class: "blink" }, blink, ...(models.length > 2 ? [against] : [])));
      name();
    }
    box.prepend(controls);
    box.classList.add("on");
    update();
  }

  document.querySelectorAll("figure.plot").forEach(plot);
  document.querySelectorAll(".flip").forEach(flip);
})();
