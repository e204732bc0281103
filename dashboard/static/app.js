/* What a page does by itself: asks for its live regions when they are due, counts ages on, ticks
   boxes, listens to keys. htmx fetches and idiomorph morphs; this file says when, and holds them
   while somebody reads or chooses. Every page works without it; nothing here builds markup. */
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (selector, root = document) => root.querySelector(selector);
  const csrf = () => one("meta[name=csrf-token]").content;

  // The server's clock, so that ages agree with its figures.
  const skew = (Date.parse(one("time.clock")?.dateTime ?? "") || Date.now()) - Date.now();
  const now = () => Date.now() + skew;

  // ---- The live light: live, paused (somebody reads or chooses), stale (figures are old)

  const WORDS = { live: "Live", paused: "Paused", stale: "Stale" };

  function light(state) {
    const live = one(".live");
    takeAway(state === "stale");
    if (!live || live.dataset.state === state) return;
    live.dataset.state = state;
    one("span", live).textContent = WORDS[state];
    tellStale(state === "stale");
  }

  // Acts are off while figures are old: buttons, links that lead to acts, and forms but the one being filled in.
  function takeAway(off) {
    for (const act of all(".main form[method=post] button, .main a[data-act]")) act.inert = off;
    for (const note of all("[data-when-off]")) note.remove();
    for (const form of all(".main form.form[method=post]")) {
      form.inert = off && !form.contains(document.activeElement);
      if (off && one("button:enabled", form)) form.after(one("#off").content.cloneNode(true));
    }
  }

  function tellStale(stale) {
    const note = one("[data-when-stale]");
    if (!note || one(".banner[data-kind=bad]:not([data-when-stale])")) return;
    note.hidden = !stale || Boolean(one("[data-stale]"));
    one("time", note).textContent = one("time.clock").textContent;
  }

  // ---- Regions: each is asked for when it is due and nobody is at work in it

  const REGION = "[hx-trigger=due]";
  const STALE_S = 5;
  const due = new Map();
  const every = (region) => Number(region.dataset.every) || 5;
  const postpone = (region, seconds) => due.set(region.id, Date.now() + seconds * 1000);
  const boxes = () => all("[data-ticks] tbody input[type=checkbox]");

  function isTyping(region) {
    const at = document.activeElement;
    return region.contains(at) && at.matches("input:not([type=checkbox]), select, textarea");
  }

  function isSelecting(region) {
    const chosen = document.getSelection();
    return chosen && !chosen.isCollapsed && region.contains(chosen.anchorNode);
  }

  function isHeld(region) {
    return isTyping(region) || isSelecting(region) || boxes().some((box) => box.checked)
      || Boolean(one("details[open][data-hold], details.menu[open], .glance, #found tr:focus, form.htmx-request", region));
  }

  function askWhatIsDue() {
    const regions = all(REGION);
    const held = regions.filter(isHeld);
    const state = one(".live")?.dataset.state; // stale it stays until an answer comes, held or not
    if (held.length && state !== "stale") light("paused");
    if (!held.length && state === "paused") light("live");
    for (const region of regions) {
      if (!due.has(region.id)) postpone(region, every(region));
      if (due.get(region.id) > Date.now() || held.includes(region)) continue;
      due.set(region.id, Infinity);
      htmx.trigger(region, "due");
    }
  }

  document.addEventListener("htmx:configRequest", ({ detail }) => {
    detail.headers["X-CSRF-Token"] = csrf();
    const etag = detail.elt.matches(REGION) && detail.elt.dataset.etag;
    if (etag) detail.headers["If-None-Match"] = `"${etag}"`;
  });

  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    if (detail.elt.matches(REGION) && isHeld(detail.elt)) detail.shouldSwap = false;
    // A form that left the page meanwhile no longer knows of morphing: its answer would go into the main part.
    if (!detail.requestConfig.elt.isConnected) detail.swapOverride = "outerHTML";
    const { activeElement } = document; // who chooses in a menu keeps it: a late answer does not take it away
    if (detail.target.matches(".suggestions") && detail.target.contains(activeElement)) detail.shouldSwap = false;
    // What is being typed stays; a button that was pressed takes the word of what it does now.
    Idiomorph.defaults.ignoreActiveValue = !document.activeElement?.matches("button");
    if (detail.shouldSwap) remember(detail.target);
  });

  // After every request, whatever became of it: a server that is slow says how long to wait. While figures are
  // old that does not count: what it waited for was Redis, which may be back by then.
  document.addEventListener("htmx:afterRequest", ({ detail }) => {
    const answered = detail.xhr.status > 0 && (detail.xhr.status < 400);
    if (!detail.elt.matches(REGION)) return answered ? undefined : tellFailure(detail.xhr);
    const asked = Number(detail.xhr.getResponseHeader("Retry-After")) || every(detail.elt);
    const fresh = answered && !one(`[id="${detail.elt.id}"]`)?.hasAttribute("data-stale");
    postpone(detail.elt, fresh || detail.xhr.status === 429 ? asked : STALE_S);
    return light(fresh ? "live" : "stale");
  });

  // Old figures are not left to a page that is looked at again.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden || one(".live")?.dataset.state !== "stale") return;
    for (const region of all(REGION)) if (due.get(region.id) !== Infinity) postpone(region, 0);
    askWhatIsDue();
  });

  // What the reader opened stays open; what the script uncovered stays uncovered.
  const isOurs = (name, node) => (name === "open" && node.localName === "details")
    || (name === "hidden" && node.dataset.copy);
  Idiomorph.defaults.ignoreActiveValue = true;
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => !isOurs(name, node);

  // A figure that changed fades in.
  let figures = new Map();

  function remember(root) {
    figures = new Map(all(".figure b, .counter b", root).map((node) => [node, node.textContent]));
  }

  function showChanges() {
    for (const [node, text] of figures) {
      if (node.isConnected && node.textContent !== text) node.classList.add("changed");
    }
    figures.clear();
  }

  document.addEventListener("animationend", (event) => event.target.classList.remove("changed"));
  document.addEventListener("htmx:afterSettle", () => { showChanges(); settle(); });

  // ---- Toasts: what was done shows for a while; what failed stays

  function tellFailure(xhr) {
    const toast = one("#toast").content.firstElementChild.cloneNode(true);
    const said = xhr.getResponseHeader("Content-Type")?.startsWith("text/plain") && xhr.responseText;
    one("span", toast).textContent = xhr.status ? said || `Nothing done: the server answered ${xhr.status}`
      : "Nothing done: the server does not answer";
    one("#toasts").append(toast);
  }

  function fadeToasts() {
    for (const toast of all(".toast:not([data-kind=bad], [data-fading])")) {
      toast.dataset.fading = "";
      fade(toast);
    }
  }

  function fade(toast) { // not while somebody points at it or is within: there may be an Undo
    setTimeout(() => (toast.matches(":hover, :focus-within") ? fade(toast) : toast.remove()), 8000);
  }

  // ---- Ages and the clock go on by the second, in the words the server uses

  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

  function age(seconds, running) {
    const far = Math.abs(seconds);
    if (far < 1) return running ? "0 s" : "now";
    const at = UNITS.findIndex(([least]) => far >= least);
    const [size, unit] = UNITS[at];
    const words = `${Math.floor(far / size)} ${unit}`;
    if (running) return words;
    if (seconds > 0) return `${words} ago`;
    const [step, smaller] = size > 60 ? UNITS[at + 1] : [size, unit]; // ahead: 1 h 34 min is not 1 h
    const rest = Math.floor((far % size) / step);
    return rest ? `in ${words} ${rest} ${smaller}` : `in ${words}`;
  }

  function countOn() {
    for (const node of all("time[data-age]")) {
      const text = age((now() - Date.parse(node.dateTime)) / 1000, node.dataset.age === "running");
      if (node.textContent !== text) node.textContent = text;
    }
    one("time.clock").textContent = `${new Date(now()).toISOString().slice(11, 19)} UTC`;
  }

  // Pages say UTC; a time that is pointed at also says when that is where the reader is.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

  document.addEventListener("mouseover", ({ target }) => {
    const at = target.closest?.("time[title]");
    if (!at || /\b(UTC|GMT)$/.test(zone) || at.title.includes(zone)) return;
    const here = new Date(at.dateTime).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });
    at.title += `; ${here} ${zone}`;
  });

  function tick() {
    if (document.hidden) return;
    countOn();
    askWhatIsDue();
  }

  // ---- Boxes: all, a range with shift, and how many

  let last = null;

  function tickRange(box, isRange) {
    const rows = boxes();
    const [from, to] = [rows.indexOf(last), rows.indexOf(box)].sort((a, b) => a - b);
    if (isRange && from >= 0) for (const between of rows.slice(from, to + 1)) between.checked = box.checked;
    last = box;
  }

  function count() {
    const form = one("[data-ticks]");
    const bar = form && one(".result-bar", form);
    if (!bar) return;
    const many = boxes().filter((box) => box.checked).length;
    for (const box of boxes()) box.closest("tr").toggleAttribute("data-selected", box.checked);
    bar.toggleAttribute("data-on", many > 0);
    showCount(bar, many);
    markWhole(one("[data-select-all]", form), many);
    for (const button of all("[data-selected-only]", bar)) offer(button, many);
  }

  function offer(button, many) { // a title says which role it needs: then it stays off
    if (!button.title) button.disabled = !many;
    const verb = button.dataset.verb;
    if (verb) button.textContent = many ? `${verb} ${many} ticked` : `${verb} ticked`;
  }

  function showCount(bar, many) {
    const label = one(".selected", bar);
    if (!label) return;
    label.hidden = !many;
    label.textContent = `${many} ticked on this page`;
    one(".matching", bar).hidden = many > 0;
  }

  function markWhole(whole, many) {
    if (!whole) return;
    whole.checked = many > 0 && many === boxes().length;
    whole.indeterminate = many > 0 && !whole.checked;
  }

  // ---- Clicks: boxes, copying, rows, menus

  function copy(button) {
    const text = button.dataset.copy || one(button.dataset.copyFrom)?.textContent;
    navigator.clipboard?.writeText(text).then(() => { button.title = "Copied"; });
  }

  function openRow(target) {
    const row = target.closest("a, button, input, label, summary") ? null : target.closest("tr[data-href]");
    if (row && document.getSelection().isCollapsed) location.assign(row.dataset.href);
  }

  function closeMenus(except) {
    for (const menu of all("details.menu[open]")) if (!menu.contains(except)) menu.open = false;
  }

  document.addEventListener("click", ({ target, shiftKey }) => {
    if (target.matches("[data-ticks] tbody input[type=checkbox]")) tickRange(target, shiftKey);
    if (target.matches("[data-select-all]")) for (const each of boxes()) each.checked = target.checked;
    if (target.matches("[data-ticks] input[type=checkbox]")) count();
    const button = target.closest("[data-copy], [data-copy-from]");
    if (button) copy(button);
    if (target.closest("[data-dismiss]")) target.closest(".toast").remove();
    openRow(target);
    closeMenus(target);
  });

  // ---- The theme changes at once; the form tells the server, and alone does it without script

  const AFTER = { dark: "light", light: "auto", auto: "dark" };

  function changeTheme(form, button) {
    const theme = button.value;
    fetch(form.action, { method: "POST", body: new FormData(form, button), redirect: "manual" });
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.value = AFTER[theme];
    button.title = `Theme: ${theme === "auto" ? "automatic" : theme}`;
  }

  document.addEventListener("submit", (event) => {
    if (!event.submitter?.matches("[data-theme-toggle]")) return;
    event.preventDefault();
    changeTheme(event.target, event.submitter);
  });

  // ---- Keys: / search, ? help, g and a letter for a page, j k Enter o x on rows, a letter for an act

  let going = 0;

  function step(by) {
    const rows = all(".main tbody tr[data-href]");
    const at = rows.indexOf(document.activeElement?.closest("tr"));
    const row = rows[Math.min(rows.length - 1, Math.max(0, at + by))];
    if (!row) return;
    row.tabIndex = -1;
    row.focus();
  }

  function look(row) { // under the row of a job what the row has no room for; another row opens
    if (!row.closest(".jobs")) return location.assign(row.dataset.href);
    const under = row.nextElementSibling;
    if (under?.matches(".glance")) return under.remove();
    return htmx.ajax("GET", `${row.dataset.href.split("?")[0]}/glance`, { target: row, swap: "afterend" });
  }

  function tickUpTo(row) {
    const box = one("input[type=checkbox]", row);
    if (!box) return;
    box.checked = true;
    tickRange(box, true);
    count();
  }

  const ROW_KEYS = {
    Enter: (row) => location.assign(row.dataset.href),
    o: look,
    x: (row) => one("input[type=checkbox]", row)?.click(),
    X: tickUpTo,
  };
  const PAGE_KEYS = {
    "/": () => (one("#q") ?? one("#search"))?.focus(),
    "?": () => one("#keys")?.togglePopover?.(),
    g: () => { going = Date.now() + 1500; },
    j: () => step(1),
    k: () => step(-1),
    a: () => one("[data-select-all]")?.click(),
    t: () => one("[data-theme-toggle]")?.click(),
  };
  const use = (act) => (act.matches("select") ? act.focus() : act.click());

  function meaning(event) {
    const key = CSS.escape(event.key);
    const page = going > Date.now() && one(`.rail a[data-key="${key}"]`);
    if (page) return () => page.click();
    const row = event.target.matches("tr[data-href]") ? event.target : null;
    if (row && ROW_KEYS[event.key]) return () => ROW_KEYS[event.key](row);
    const own = row && one(`[data-row-key="${key}"]`, row);
    if (own) return () => own.click();
    const act = one(`.main [data-key~="${key}"]:not(:disabled, [inert], [inert] *)`);
    if (act && !row) return () => use(act);
    return PAGE_KEYS[event.key] ?? (act ? () => use(act) : null);
  }

  function send(event) { // from within any field; the button says whether it may
    const form = event.target.closest(".main form[method=post]");
    const buttons = [...(form?.elements ?? [])].filter((each) => each.matches("button:not([type=button])"));
    const button = buttons.find((each) => each.matches(".primary")) ?? buttons[0];
    if (!button) return;
    event.preventDefault();
    button.click();
  }

  function escape() {
    closeMenus(null);
    for (const glance of all(".glance")) glance.remove();
    if (document.activeElement.matches("tr")) document.activeElement.blur();
    if (location.hash === "#rail") location.hash = "main";
  }

  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send(event);
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") escape();
    if (event.target.matches("input:not([type=checkbox], [type=radio]), select, textarea")) return;
    const isSingle = event.key !== "Enter";
    const act = isSingle && document.body.dataset.keys === "off" ? null : meaning(event);
    if (event.key !== "g") going = 0;
    if (!act) return;
    event.preventDefault();
    act();
  });

  // ---- The menu under a search box: an arrow goes in, Escape comes back and then out, a field goes into the box

  const SEARCH = "#query, .search";
  const boxOf = (search) => one("input[aria-controls]", search);

  function complete(offer) {
    const box = boxOf(offer.closest(SEARCH));
    box.value = box.value.replace(/\S*$/, "") + offer.dataset.complete;
    box.focus();
    box.dispatchEvent(new Event("input", { bubbles: true }));
  }

  const left = new WeakMap(); // box -> what it held as its menu was left: that is not asked for again

  function leaveMenu(event, search) {
    const box = boxOf(search);
    event.preventDefault(); // else the box would empty itself
    left.set(box, box.value);
    htmx.trigger(box, "htmx:abort");
    one(".suggestions", search).replaceChildren();
    box.focus();
  }

  function leaveBox(event, search) {
    event.preventDefault(); // as above
    htmx.trigger(boxOf(search), "htmx:abort");
    event.target.blur(); // else single keys would be typed into it
  }

  document.addEventListener("focusout", ({ target }) => left.delete(target));
  document.addEventListener("htmx:beforeRequest", (event) => {
    const box = event.detail.elt;
    if (left.has(box) && left.get(box) === box.value) event.preventDefault();
  });

  document.addEventListener("click", (event) => {
    const offer = event.target.closest("[data-complete]");
    if (offer) complete(offer);
  });

  document.addEventListener("keydown", (event) => {
    const form = event.target.closest(SEARCH);
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!form) return;
    if (event.key === "Escape") (one(".suggest", form) ? leaveMenu : leaveBox)(event, form);
    if (!by) return;
    const stops = [boxOf(form), ...all(".suggest :is(a, button)", form)];
    const at = stops.indexOf(event.target);
    stops[Math.min(stops.length - 1, Math.max(0, at + by))].focus();
    event.preventDefault();
  });

  // ---- The strip over a job table: drag along it, and the search is narrowed to that time

  let brush = null; // where a drag began, as a share of the strip, and how far it got

  const share = (svg, event) => {
    const box = svg.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  };

  function narrow({ svg, from, to }) {
    const [start, end] = svg.dataset.brush.split("/").map(Date.parse);
    const [first, last] = [from, to].sort((a, b) => a - b);
    const at = (part) => new Date(start + part * (end - start)).toISOString();
    const args = new URLSearchParams(location.search);
    for (const gone of ["cursor", "fresh"]) args.delete(gone);
    if (first > 0.005) args.set("since", at(first)); // an end of the strip leaves that side open
    if (last < 0.995) args.set("until", at(last));
    location.search = args;
  }

  document.addEventListener("pointerdown", (event) => {
    const svg = event.target.closest?.("[data-brush]");
    if (!svg || event.button) return;
    const at = share(svg, event);
    brush = { svg, from: at, to: at };
    event.preventDefault(); // no text is selected, no link dragged
  });

  document.addEventListener("pointermove", (event) => {
    if (!brush) return;
    brush.to = share(brush.svg, event);
    const rect = one(".brush", brush.svg);
    rect.setAttribute("x", Math.min(brush.from, brush.to) * 600);
    rect.setAttribute("width", Math.abs(brush.to - brush.from) * 600);
  });

  document.addEventListener("pointerup", () => {
    const done = brush;
    brush = null;
    if (done && Math.abs(done.to - done.from) > 0.01) narrow(done);
  });

  // ---- What a page and each fresh part of it needs once

  // Log lines that follow stay at their end, unless somebody has scrolled up.
  const following = new WeakMap();

  function follow() {
    for (const box of all("[data-follow]")) {
      if (following.get(box) !== false) box.scrollTop = box.scrollHeight;
      if (!following.has(box)) box.addEventListener("scroll", () => following.set(box, isAtEnd(box)));
    }
  }

  const isAtEnd = (box) => box.scrollTop + box.clientHeight >= box.scrollHeight - 8;

  function settle() {
    for (const button of all("[data-copy], [data-copy-from]")) button.hidden = false;
    fadeToasts();
    follow();
    count();
  }

  one(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  settle();
  if (one("[data-stale]")) light("stale");
  if (one("time.clock")) setInterval(tick, 1000);
})();
