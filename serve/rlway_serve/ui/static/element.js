/**
 * Elements of the page, made without HTML text.
 *
 * In:      a tag, its properties, its children.
 * Out:     the element. What is no property of it becomes an attribute; `null` and `false` are left out.
 */

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name in made && !name.includes("-") && !READ_ONLY.has(name)) /** @type {any} */ (made)[name] = value;
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  fill(made, ...children);
  return made;
}

const READ_ONLY = new Set(["list", "form", "width", "height", "style"]);

/**
 * Adds children.
 * @param {Element | DocumentFragment} parent
 * @param {...(Child | Child[])} children
 */
export function fill(parent, ...children) {
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false)
      parent.append(child instanceof Node ? child : `${child}`);
  }
}

/**
 * An element of SVG.
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {...Node} children
 */
export function drawn(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/**
 * A control with its label before it.
 * @param {string} text
 * @param {HTMLElement} control
 */
export function labelled(text, control) {
  return element("label", { className: "control" }, text, control);
}

/**
 * A choice.
 * @param {[string, string][]} options value and text
 * @param {string} chosen
 * @param {(value: string) => void} onChoice
 */
export function choice(options, chosen, onChoice) {
  const made = element("select", { onchange: () => onChoice(made.value) });
  fill(
    made,
    options.map(([value, text]) => element("option", { value, selected: value === chosen }, text)),
  );
  return made;
}

/** @param {unknown} error */
export function fault(error) {
  const sentence = error instanceof Error ? error.message : String(error);
  return element("p", { className: "fault", role: "alert" }, sentence);
}

/**
 * Text whose parts between backticks are code.
 * @param {string} text
 * @returns {(Node | string)[]}
 */
export const ticked = (text) => text.split("`").map((part, i) => (i % 2 ? element("code", {}, part) : part));
