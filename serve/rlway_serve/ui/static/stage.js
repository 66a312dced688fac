/**
 * Draws a world, and takes the pushes of the pointer on it.
 *
 * In:      a CartPole or a Pendulum.
 * Out:     a canvas; pushes to the left or to the right, away from where the pointer touches.
 */

import { CartPole, EDGE_M } from "./cartpole.js";
import { element } from "./element.js";

/** @typedef {import("./cartpole.js").CartPole | import("./pendulum.js").Pendulum} World */

const [WIDTH, HEIGHT] = [960, 540];
const SHOVE_MS = 350; // how long the picture shows a push

export class Stage {
  /** @param {World} world @param {(direction: 1 | -1) => void} onPush */
  constructor(world, onPush) {
    this.world = world;
    /** @type {{direction: 1 | -1, until_ms: number} | null} */
    this.shove = null;
    this.canvas = element("canvas", { className: "stage", tabIndex: 0, role: "img" });
    [this.canvas.width, this.canvas.height] = [WIDTH, HEIGHT];
    this.pen = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    this.canvas.addEventListener("pointerdown", (event) => {
      const box = this.canvas.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * WIDTH;
      onPush(x < this.place(world.tip).x ? 1 : -1);
      this.canvas.focus({ preventScroll: true });
    });
    this.describe();
  }

  /** @param {1 | -1} direction */
  showPush(direction) {
    this.shove = { direction, until_ms: performance.now() + SHOVE_MS };
  }

  /** Says in words what is to be seen. */
  describe() {
    this.canvas.setAttribute(
      "aria-label",
      `${/** @type {any} */ (this.world.constructor).title}: ${this.world.words}. The arrow keys push.`,
    );
  }

  get scale() {
    return this.world instanceof CartPole ? WIDTH / (2 * EDGE_M + 0.4) : HEIGHT / 2.7;
  }

  /** @param {{x: number, y: number}} point in metres */
  place({ x, y }) {
    const base = this.world instanceof CartPole ? HEIGHT * 0.74 : HEIGHT / 2;
    return { x: WIDTH / 2 + x * this.scale, y: base - y * this.scale };
  }

  draw() {
    const { pen, world } = this;
    const style = getComputedStyle(this.canvas);
    const colour = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`);
    pen.clearRect(0, 0, WIDTH, HEIGHT);
    pen.lineCap = "round";
    const root = world instanceof CartPole ? this.#cart(colour, world.state[0]) : this.place({ x: 0, y: 0 });
    const tip = this.place(world.tip);
    if (world instanceof CartPole)
      arrow(pen, colour("accent"), { x: root.x, y: root.y + 62 }, Math.sign(world.force) * 60);
    stroke(pen, colour("second"), 16, [root, tip]);
    dot(pen, colour("ink"), root, 9);
    dot(pen, colour("second"), tip, 14);
    if (!(world instanceof CartPole) && world.force) this.#torque(colour("accent"), root, world.force / 2);
    if (this.shove && this.shove.until_ms > performance.now()) {
      const { direction } = this.shove;
      arrow(pen, colour("bad"), { x: tip.x - direction * 110, y: tip.y }, direction * 80);
    }
  }

  /** @param {(name: string) => string} colour @param {number} x @returns {{x: number, y: number}} where the pole is fixed */
  #cart(colour, x) {
    const { pen } = this;
    const root = this.place({ x, y: 0 });
    const track = root.y + 34;
    stroke(
      pen,
      colour("line"),
      4,
      [this.place({ x: -EDGE_M, y: 0 }), this.place({ x: EDGE_M, y: 0 })].map((p) => ({ x: p.x, y: track })),
    );
    for (const edge of [-EDGE_M, EDGE_M]) {
      const { x: at } = this.place({ x: edge, y: 0 });
      stroke(pen, colour("bad"), 4, [
        { x: at, y: track - 22 },
        { x: at, y: track + 22 },
      ]);
    }
    pen.fillStyle = colour("accent");
    pen.beginPath();
    pen.roundRect(root.x - 50, root.y - 22, 100, 44, 8);
    pen.fill();
    for (const side of [-26, 26]) dot(pen, colour("soft"), { x: root.x + side, y: root.y + 24 }, 10);
    return root;
  }

  /** @param {string} colour @param {{x: number, y: number}} root @param {number} share of the largest torque; positive turns to the right */
  #torque(colour, root, share) {
    const [from, turn] = [-Math.PI / 2, share * Math.PI * 0.8];
    this.pen.strokeStyle = colour;
    this.pen.lineWidth = 6;
    this.pen.beginPath();
    this.pen.arc(root.x, root.y, 48, from, from + turn, turn < 0);
    this.pen.stroke();
    const end = from + turn;
    dot(this.pen, colour, { x: root.x + 48 * Math.cos(end), y: root.y + 48 * Math.sin(end) }, 8);
  }
}

/** @param {CanvasRenderingContext2D} pen @param {string} colour @param {number} width @param {{x: number, y: number}[]} points */
function stroke(pen, colour, width, points) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.beginPath();
  for (const { x, y } of points) pen.lineTo(x, y);
  pen.stroke();
}

/** @param {CanvasRenderingContext2D} pen @param {string} colour @param {{x: number, y: number}} at @param {number} radius */
function dot(pen, colour, { x, y }, radius) {
  pen.fillStyle = colour;
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fill();
}

/** @param {CanvasRenderingContext2D} pen @param {string} colour @param {{x: number, y: number}} from @param {number} length */
function arrow(pen, colour, { x, y }, length) {
  if (!length) return;
  const [tip, back] = [x + length, x + length - Math.sign(length) * 14];
  stroke(pen, colour, 6, [
    { x, y },
    { x: tip, y },
  ]);
  stroke(pen, colour, 6, [
    { x: back, y: y - 10 },
    { x: tip, y },
    { x: back, y: y + 10 },
  ]);
}
