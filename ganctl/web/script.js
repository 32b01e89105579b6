"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);

  // --- Light and dark -----------------------------------------------------------------------------------------
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const theme = byId("theme");
  const nameTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
  theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); });
  system.addEventListener("change", nameTheme);
  theme.hidden = false;
  nameTheme();

  // --- Numbers ------------------------------------------------------------------------------------------------
  const shown = (v) => {
    if (v === 0) return "0";
    const size = Math.abs(v);
    if (size < 1e-3 || size >= 1e6) return v.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
    return String(Number(v.toPrecision(4)));
  };
  const grouped = (v) => String(Math.round(v)).replace(/\B(?=(\d{3})+$)/g, "\u202f");

  /** Round numbers from lo to hi, about `count` of them. */
  const linearTicks = (lo, hi, count) => {
    const rough = (hi - lo) / count, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 2.5, 5, 10].find((m) => m * power >= rough);
    const out = [];
    for (let k = Math.ceil(lo / step); k * step <= hi; k++) out.push(Number((k * step).toPrecision(12)));
    return out;
  };
  /** Powers of ten, with 2 and 5 between them where there are few. */
  const logTicks = (lo, hi) => {
    const decades = Math.log10(hi / lo), every = Math.ceil(decades / 6), out = [];
    for (let e = Math.floor(Math.log10(lo)); e <= Math.ceil(Math.log10(hi)); e++) {
      if (e % every) continue;
      for (const m of decades < 2.5 ? [1, 2, 5] : [1]) out.push(Number(`${m}e${e}`));
    }
    const inside = out.filter((v) => v >= lo && v <= hi);
    return inside.length > 1 ? inside : linearTicks(lo, hi, 4).filter((v) => v > 0);
  };
  const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];

  // --- Curves -------------------------------------------------------------------------------------------------
  const view = { log: false, smooth: 0.6, spikes: false };
  const FEW = 60;
  /** Whether its points are rows that are drawn one by one, and never smoothed. */
  const few = (s) => s.exact && s.points.mean.length <= FEW;
  const NS = "http://www.w3.org/2000/svg";
  const draw = (parent, name, attributes, text) => {
    const node = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return parent.appendChild(node);
  };

  /** Exponential moving average without the bias of its start; gaps stay gaps. */
  const smoothed = (values, smooth) => {
    if (!smooth) return values;
    let sum = 0, weight = 0;
    return values.map((v) => {
      if (v === null) return null;
      sum = smooth * sum + (1 - smooth) * v;
      weight = smooth * weight + (1 - smooth);
      return sum / weight;
    });
  };
  /** Runs of indices whose values are there. */
  const pieces = (values) => {
    const out = [];
    values.forEach((v, i) => {
      if (v === null) return;
      if (i === 0 || values[i - 1] === null) out.push([]);
      out[out.length - 1].push(i);
    });
    return out;
  };

  const last = Math.max(...data.charts.flatMap((c) => c.series.map((s) => s.points.kimg.at(-1))), 1e-3);

  class Chart {
    constructor(figure, spec, index) {
      this.spec = spec;
      this.index = index;
      this.svg = figure.querySelector(".plot > svg");
      this.tip = figure.querySelector(".tip");
      this.at = null;
      this.svg.addEventListener("pointermove", (e) => this.hover(e.clientX));
      this.svg.addEventListener("pointerdown", (e) => this.hover(e.clientX));
      this.svg.addEventListener("pointerleave", () => this.leave());
      this.svg.addEventListener("blur", () => this.leave());
      this.svg.addEventListener("keydown", (e) => this.key(e));
    }

    /** The values that the vertical axis shows; spikes of the band may stick out. */
    range(lines) {
      const band = this.spec.series.flatMap((s) => [...s.points.low, ...s.points.high]).filter((v) => v !== null);
      const means = lines.flat().filter((v) => v !== null), ends = lines.map((l) => l.findLast((v) => v !== null) ?? 0);
      const inside = [...ends, ...this.spec.floors.map((f) => f.value)];
      this.log = view.log && Math.min(...band, ...inside) > 0;
      const all = [...band, ...means].sort((a, b) => a - b);
      const [least, most] = [all[0] ?? 0, all.at(-1) ?? 1];
      let lo = Math.min(quantile(all, 0.03) ?? 0, ...inside), hi = Math.max(quantile(all, 0.97) ?? 1, ...inside);
      // The frame leaves out what would make the rest flat, and the picture says so.
      const size = this.log ? (from, to) => Math.log(to / from) : (from, to) => to - from;
      const whole = view.spikes || this.spec.series.every(few);
      if (whole || size(least, lo) < 0.3 * size(lo, hi)) lo = Math.min(lo, least);
      if (whole || size(hi, most) < 0.3 * size(lo, hi)) hi = Math.max(hi, most);
      this.below = least < lo ? least : null;
      this.above = most > hi ? most : null;
      if (lo === hi) { const pad = Math.abs(lo) * 0.1 || 1; [lo, hi] = [this.log ? lo / 1.1 : lo - pad, hi + pad]; }
      if (this.log) { const pad = (hi / lo) ** 0.05; return [lo / pad, hi * pad]; }
      const pad = (hi - lo) * 0.06;
      return [lo >= 0 && lo - pad < 0 ? 0 : lo - pad, hi + pad];
    }

    draw() {
      const width = Math.max(this.svg.parentNode.clientWidth, 240), height = width < 420 ? 210 : 240;
      const [left, right, top, bottom] = [54, 14, 12, 24];
      const lines = this.spec.series.map((s) => smoothed(s.points.mean, this.spec.smooth && !few(s) ? view.smooth : 0));
      const [lo, hi] = this.range(lines);
      const scale = this.log ? Math.log : (v) => v;
      this.x = (v) => left + (v / last) * (width - left - right);
      this.y = (v) => height - bottom - ((scale(v) - scale(lo)) / (scale(hi) - scale(lo))) * (height - top - bottom);
      this.frame = { width, height, left, right, top, bottom };
      const svg = this.svg;
      svg.replaceChildren();
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);

      const clip = draw(draw(svg, "defs", {}), "clipPath", { id: `clip${this.index}` });
      draw(clip, "rect", { x: left, y: top - 4, width: width - left - right + 6, height: height - top - bottom + 4 });
      for (const v of this.log ? logTicks(lo, hi) : linearTicks(lo, hi, 6)) {
        draw(svg, "line", { class: "grid", x1: left, x2: width - right, y1: this.y(v), y2: this.y(v) });
        draw(svg, "text", { x: left - 8, y: this.y(v) + 4, "text-anchor": "end" }, shown(v));
      }
      draw(svg, "line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom });
      const ticks = linearTicks(0, last, width < 420 ? 4 : 6);
      ticks.forEach((v, i) => {
        const text = i === ticks.length - 1 ? `${shown(v)} kimg` : shown(v);
        const anchor = this.x(v) + 30 > width - right ? "end" : "middle";
        draw(svg, "line", { class: "axis", x1: this.x(v), x2: this.x(v), y1: height - bottom, y2: height - bottom + 4 });
        draw(svg, "text", { x: anchor === "end" ? width - 2 : this.x(v), y: height - 5, "text-anchor": anchor }, text);
      });

      const inside = draw(svg, "g", { "clip-path": `url(#clip${this.index})` });
      const place = (s, i, values) => `${this.x(s.points.kimg[i]).toFixed(1)},${this.y(values[i]).toFixed(1)}`;
      for (const s of this.spec.series) {
        if (few(s)) continue;
        for (const piece of pieces(s.points.high)) {
          const there = piece.map((i) => place(s, i, s.points.high));
          const back = piece.map((i) => place(s, i, s.points.low)).reverse();
          draw(inside, "polygon", { class: `band c${s.colour}`, points: [...there, ...back].join(" ") });
        }
      }
      this.spec.series.forEach((s, n) => {
        for (const piece of pieces(lines[n])) {
          const points = piece.map((i) => place(s, i, lines[n]));
          draw(inside, "polyline", { class: `line c${s.colour} d${s.dash}`, points: points.join(" ") });
          if (!few(s)) continue;
          for (const i of piece) {
            draw(inside, "circle", { class: `mark c${s.colour}`, cx: this.x(s.points.kimg[i]), cy: this.y(lines[n][i]), r: 3 });
          }
        }
      });
      let free = -Infinity;
      for (const f of [...this.spec.floors].sort((a, b) => this.y(a.value) - this.y(b.value))) {
        const y = this.y(f.value);
        draw(svg, "line", { class: "floor", x1: left, x2: width - right, y1: y, y2: y });
        const line = Math.max(y - 5 < top + 8 ? y + 14 : y - 5, free + 13);
        draw(svg, "text", { class: "told", x: width - right, y: line, "text-anchor": "end" }, f.name);
        free = line;
      }
      const out = [this.above === null ? "" : `▲ up to ${shown(this.above)}`, this.below === null ? "" : `▼ down to ${shown(this.below)}`];
      const told = out.filter(Boolean).join("  ");
      if (told) draw(svg, "text", { class: "told", x: width - right, y: top + 6, "text-anchor": "end" }, told);
      if (view.log && !this.log) {
        draw(svg, "text", { class: "told", x: left + 6, y: top + 20 }, "linear: some values are not above 0");
      }
      this.cursor = draw(svg, "g", {});
      if (this.at !== null) this.point(this.at);
    }

    hover(clientX) {
      const box = this.svg.getBoundingClientRect();
      const { width, left, right } = this.frame;
      const x = ((clientX - box.left) / box.width) * width;
      this.point(Math.min(Math.max((x - left) / (width - left - right), 0), 1) * last);
    }

    key(e) {
      if (e.key === "Escape") return this.leave();
      const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[e.key];
      if (step === undefined) return;
      e.preventDefault();
      e.stopPropagation();
      const all = this.spec.series.map((s) => s.points.kimg).sort((a, b) => b.length - a.length)[0];
      const i = this.at === null ? -1 : nearest(all, this.at);
      this.point(all[Math.min(Math.max(i + step, 0), all.length - 1)]);
    }

    /** Crosshair and values at so many kimg. */
    point(kimg) {
      this.at = kimg;
      this.cursor.replaceChildren();
      const { width, height, top, bottom } = this.frame;
      const rows = [];
      let where = null;
      for (const s of this.spec.series) {
        const i = nearest(s.points.kimg, kimg), v = s.points.mean[i];
        if (Math.abs(s.points.kimg[i] - kimg) > last / 12) continue; // ended before, or has nothing near
        where = where === null || Math.abs(s.points.kimg[i] - kimg) < Math.abs(where.kimg - kimg)
          ? { kimg: s.points.kimg[i], step: s.points.step[i] } : where;
        rows.push([s, i, v]);
      }
      if (where === null) return this.leave();
      draw(this.cursor, "line", { class: "cross", x1: this.x(where.kimg), x2: this.x(where.kimg), y1: top, y2: height - bottom });
      const title = document.createElement("b");
      title.textContent = `${shown(where.kimg)} kimg, step ${grouped(where.step)}`;
      this.tip.replaceChildren(title);
      for (const [s, i, v] of rows) {
        const row = document.createElement("p"), dot = document.createElement("span"), text = document.createElement("span");
        dot.className = `dot c${s.colour}`;
        const { low, high } = s.points;
        text.textContent = `${this.spec.series.length > 1 ? `${s.name} ` : ""}${v === null ? "not finite" : shown(v)}`;
        row.append(dot, text);
        if (v !== null && low[i] !== high[i]) {
          const range = document.createElement("small");
          range.textContent = `${shown(low[i])} – ${shown(high[i])}`;
          row.append(range);
        }
        this.tip.append(row);
        if (v !== null && this.y(v) >= top && this.y(v) <= height - bottom) {
          draw(this.cursor, "circle", { class: `mark c${s.colour}`, cx: this.x(s.points.kimg[i]), cy: this.y(v), r: 4 });
        }
      }
      this.tip.hidden = false;
      const room = this.svg.clientWidth, x = (this.x(where.kimg) / width) * room;
      const beside = x + 14 + this.tip.offsetWidth <= room ? x + 14 : x - 14 - this.tip.offsetWidth;
      this.tip.style.left = `${Math.max(0, Math.min(beside, room - this.tip.offsetWidth))}px`;
    }

    leave() {
      this.at = null;
      this.tip.hidden = true;
      this.cursor.replaceChildren();
    }
  }

  /** Where in an ascending list the value nearest to v stands. */
  const nearest = (list, v) => {
    let lo = 0, hi = list.length - 1;
    while (lo < hi) { const mid = (lo + hi) >> 1; if (list[mid] < v) lo = mid + 1; else hi = mid; }
    return lo > 0 && v - list[lo - 1] < list[lo] - v ? lo - 1 : lo;
  };

  const charts = [...document.querySelectorAll(".chart")].map((f) => new Chart(f, data.charts[f.dataset.chart], f.dataset.chart));
  const redraw = () => charts.forEach((chart) => chart.draw());
  redraw();
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraw(); } });

  const toolbar = byId("toolbar");
  if (toolbar) {
    const smooth = byId("smooth"), told = byId("smoothed"), spikes = byId("spikes");
    const apply = () => {
      view.log = toolbar.elements.axis.value === "log";
      view.smooth = Number(smooth.value);
      view.spikes = spikes.checked;
      told.textContent = view.smooth.toFixed(2);
      redraw();
    };
    toolbar.addEventListener("input", apply);
    toolbar.addEventListener("submit", (e) => e.preventDefault());
    toolbar.hidden = false;
    apply();
  }

  // --- Samples ------------------------------------------------------------------------------------------------
  const scrub = byId("scrub");
  const lines = data.timelines.map((t) => t.frames.map((f) => ({ ...f, at: f.kimg ?? f.step })));
  const marks = [...new Set(lines.flat().map((f) => f.at))].sort((a, b) => a - b);
  if (scrub && marks.length > 1) {
    const kimg = lines.flat().every((f) => f.kimg !== null);
    const unit = (at) => (kimg ? `${shown(at)} kimg` : `step ${grouped(at)}`);
    const show = () => {
      const at = marks[scrub.value];
      byId("when").textContent = unit(at);
      scrub.setAttribute("aria-valuetext", unit(at));
      for (const figure of document.querySelectorAll(".frame")) {
        const frames = lines[figure.dataset.run];
        const frame = frames.findLast((f) => f.at <= at) ?? frames[0];
        figure.querySelector("img").src = frame.src;
        figure.querySelector(".at").textContent = `after ${unit(frame.at)}`;
      }
    };
    const go = (to) => { scrub.value = to; show(); };
    scrub.max = marks.length - 1;
    scrub.addEventListener("input", show);
    addEventListener("keydown", (e) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
      if (!step || e.altKey || e.ctrlKey || e.metaKey || e.target.closest?.("input, summary, a, .log, .scroll")) return;
      e.preventDefault();
      go(Number(scrub.value) + step);
    });
    const play = byId("play");
    let timer = null;
    const stop = () => { clearInterval(timer); timer = null; play.textContent = "▶"; play.setAttribute("aria-label", "Play"); };
    play.addEventListener("click", () => {
      if (timer !== null) return stop();
      if (Number(scrub.value) === marks.length - 1) go(0);
      play.textContent = "❚❚";
      play.setAttribute("aria-label", "Pause");
      timer = setInterval(() => (Number(scrub.value) < marks.length - 1 ? go(Number(scrub.value) + 1) : stop()), 400);
    });
    byId("controls").hidden = false;
    byId("keys").hidden = false;
    go(marks.length - 1);
  }

  // --- Paper: what is folded is shown, as it was afterwards ---------------------------------------------------
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((d) => { d.open = true; });
  });
  addEventListener("afterprint", () => folded.forEach((d) => { d.open = false; }));

  root.dataset.ready = "yes";
})();
