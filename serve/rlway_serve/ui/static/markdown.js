/**
 * Markdown as elements: as much of it as model cards have.
 *
 * In:      the text; what to do with its pictures.
 * Out:     elements. Text never becomes HTML, and only links to http and https are links.
 */

import { element, fill } from "./element.js";

/** @typedef {(source: string, text: string) => Node} Picture */

const INLINE = /(`[^`]+`|!\[[^\]]*\]\([^)\s]+\)|\[[^\]]+\]\([^)\s]+\)|\*\*[^*]+\*\*)/;

/**
 * @param {string} text
 * @param {Picture} picture
 */
export function markdown(text, picture) {
  const lines = text.replaceAll("\r", "").split("\n");
  const made = element("div", { className: "prose" });
  while (lines.length) {
    const line = /** @type {string} */ (lines.shift());
    const heading = /^(#{1,6}) (.*)/.exec(line);
    if (!line.trim()) continue;
    if (heading) {
      made.append(element("h3", {}, inline(heading[2], picture)));
    } else if (line.startsWith("```")) {
      const code = [];
      while (lines.length && !lines[0].startsWith("```")) code.push(lines.shift());
      lines.shift();
      made.append(element("pre", { tabIndex: 0 }, element("code", {}, code.join("\n"))));
    } else if (line.startsWith("|")) {
      made.append(table([line, ...taken(lines, /^\|/)], picture));
    } else if (/^[-*] /.test(line)) {
      const items = [line, ...taken(lines, /^[-*] /)];
      made.append(
        element(
          "ul",
          {},
          items.map((item) => element("li", {}, inline(item.slice(2), picture))),
        ),
      );
    } else {
      const words = [line, ...taken(lines, /^(?!#|```|\||[-*] )\S/)].join(" ");
      made.append(element("p", {}, inline(words, picture)));
    }
  }
  return made;
}

/** @param {string[]} lines @param {RegExp} pattern the lines at the beginning that match, which are removed */
function taken(lines, pattern) {
  const end = lines.findIndex((line) => !pattern.test(line));
  return lines.splice(0, end < 0 ? lines.length : end);
}

/** @param {string[]} lines @param {Picture} picture */
function table(lines, picture) {
  const rows = lines.map((line) =>
    line
      .replace(/^\||\|\s*$/g, "")
      .split(/(?<!\\)\|/)
      .map((cell) => cell.trim().replaceAll("\\|", "|")),
  );
  const [titles, ...body] = rows.filter((cells) => !cells.every((cell) => /^:?-+:?$/.test(cell)));
  const cells = (/** @type {string[]} */ row) => row.map((cell) => element("td", {}, inline(cell, picture)));
  const hasTitles = titles.some((title) => title);
  const head = titles.map((title) => (title ? element("th", { scope: "col" }, inline(title, picture)) : element("td")));
  const made = element(
    "table",
    {},
    hasTitles && element("thead", {}, element("tr", {}, head)),
    element(
      "tbody",
      {},
      body.map((row) => element("tr", {}, cells(row))),
    ),
  );
  return element("div", { className: "wide", tabindex: 0, role: "region", "aria-label": "Table" }, made);
}

/** @param {string} text @param {Picture} picture @returns {Node[]} */
function inline(text, picture) {
  const parts = document.createDocumentFragment();
  for (const part of text.split(INLINE)) {
    const linked = /^(!?)\[([^\]]*)\]\(([^)]+)\)$/.exec(part);
    if (linked) fill(parts, linked[1] ? picture(linked[3], linked[2]) : link(linked[3], linked[2]));
    else if (/^`.+`$/.test(part)) fill(parts, element("code", {}, part.slice(1, -1)));
    else if (/^\*\*.+\*\*$/.test(part)) fill(parts, element("strong", {}, part.slice(2, -2)));
    else fill(parts, part.replace(/\\([\\|*_`])/g, "$1"));
  }
  return [...parts.childNodes];
}

/** @param {string} target @param {string} text */
const link = (target, text) =>
  /^https?:\/\//.test(target) ? element("a", { href: target, rel: "noopener noreferrer" }, text) : text;
