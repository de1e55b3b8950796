// Uses a report as a reader would and tells the page around it what it finds. Appended
// to a copy of the report.
"use strict";
(async () => {
  const found = { wrong };
  const one = (selector, under = document) => under.querySelector(selector);
  const all = (selector, under = document) => [...under.querySelectorAll(selector)];
  const seen = (element) => element.getClientRects().length > 0;
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  const style = (element) => getComputedStyle(element);

  function layout() {
    const touched = "button, select, summary, nav a, .controls label span";
    const low = (element) => element.getBoundingClientRect().height < 40;
    scrollTo(0, document.documentElement.scrollHeight);
    const navTop = one("nav").getBoundingClientRect().top;
    scrollTo(0, 0);
    return {
      innerWidth,
      pageWidth: document.documentElement.scrollWidth,
      targets: all(touched).filter(seen).length,
      small: all(touched).filter(seen).filter(low).map((element) => element.textContent),
      broken: all("nav a").filter((a) => !one(a.hash)).map((a) => a.hash),
      links: all("nav a").length,
      navTop,
      scrolling: all(".scroll").filter((box) => box.scrollWidth > box.clientWidth).length,
      tiny: all(".drawing text").filter((t) => t.getBoundingClientRect().height < 9).length,
      background: style(document.body).backgroundColor,
      text: style(document.body).color,
      chartText: style(one(".drawing text")).fill,
    };
  }

  function charts() {
    const figure = one("#training figure.plot");
    const drawing = one(".drawing", figure);
    const tip = one(".tip", figure);
    const around = ({ left, right }, guide) => ({
      inside: left >= 0 && right <= innerWidth,
      clear: left > guide || right < guide,
    });
    const state = () => ({
      shown: seen(tip) && seen(one(".guide", figure)),
      tip: tip.innerText.split("\n").filter((line) => line.trim()),
      spoken: drawing.getAttribute("aria-valuetext"),
      dots: all(".marks circle", figure).filter(seen).map((dot) => [
        Number(dot.getAttribute("cx")), Number(dot.getAttribute("cy")),
      ]),
      ...around(tip.getBoundingClientRect(), one(".guide", figure).getBoundingClientRect().x),
    });
    const at = (type, share, pointerType = "mouse") => {
      const box = one("svg", drawing).getBoundingClientRect();
      const [clientX, clientY] = [box.left + share * box.width, box.top + box.height / 2];
      const event = { clientX, clientY, pointerType, bubbles: true };
      drawing.dispatchEvent(new PointerEvent(type, event));
      return state();
    };
    const key = (name) => {
      drawing.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
      return state();
    };
    const lines = all('[data-series] path[stroke-linejoin]', figure).map((path) =>
      path.getAttribute("d").split(/[ML]/).filter(Boolean).map((p) => p.split(" ").map(Number)));
    const out = { lines, before: state(), title: drawing.getAttribute("aria-label") };
    out.hover = at("pointermove", 0.99);
    out.start = at("pointermove", 0.0);
    out.left = at("pointerleave", 0.5);
    out.touch = at("pointerdown", 0.99, "touch");
    out.arrow = key("ArrowLeft");
    out.home = key("Home");
    out.end = key("End");
    out.escape = key("Escape");
    drawing.focus();
    out.focusable = document.activeElement === drawing;
    const button = one("button.key", figure);
    const part = one('[data-series="0"]', figure);
    out.pressed = [button.getAttribute("aria-pressed")];
    button.click();
    out.pressed.push(button.getAttribute("aria-pressed"));
    out.off = { drawn: seen(part), hover: at("pointermove", 0.99) };
    button.click();
    out.on = { drawn: seen(part), hover: at("pointermove", 0.99) };
    return out;
  }

  async function grids() {
    const box = one(".flip");
    const state = () => all("figure", box).filter(seen).map((figure) => {
      const { left, top, width } = one("img", figure).getBoundingClientRect();
      return { ...figure.dataset, place: [left + scrollX, top + scrollY, width] };
    });
    const radio = (value) => one(`input[value="${value}"]`, box);
    const pick = (value) => {
      radio(value).click();
      return state();
    };
    const image = one("img", box);
    const groups = all("fieldset", box).map((group) => ({
      name: one("legend", group).textContent,
      options: all("input[type=radio]", group).map((input) => input.value),
      joined: new Set(all("input", group).map((input) => input.name)).size === 1,
    }));
    const out = { groups, before: state(), rendering: style(image).imageRendering };
    out.loaded = all("img", box).filter((img) => img.naturalWidth > 1).length;
    out.model = pick("sa2");
    out.sampler = pick("ddim-10");
    out.checked = all("input:checked", box).map((input) => input.value);
    const blink = one(".blink button", box);
    const against = one(".blink select", box);
    out.rivals = all("option", against).map((option) => option.value);
    against.value = "third";
    against.dispatchEvent(new Event("change"));
    const model = () => state().map((figure) => figure.model).join();
    const pressed = () => blink.getAttribute("aria-pressed");
    blink.click();
    out.blink = [[model(), pressed()]];
    for (const ms of [650, 600, 600]) {
      await wait(ms);
      out.blink.push([model(), pressed()]);
    }
    blink.click();
    out.stopped = [[model(), pressed()]];
    await wait(700);
    out.stopped.push([model(), pressed()]);
    return out;
  }

  try {
    found.layout = layout();
    found.charts = charts();
    found.grids = await grids();
  } catch (error) {
    wrong.push(String(error.stack || error));
  }
  parent.postMessage(JSON.stringify(found), "*");
})();
