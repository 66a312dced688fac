/**
 * The worlds that run in the page.
 *
 * In:      a manifest.
 * Out:     the world that its policy plays; null for another one.
 */

import { CartPole } from "./cartpole.js";
import { Pendulum } from "./pendulum.js";

const WORLDS = [CartPole, Pendulum];

/** @param {import("./spec.js").Manifest} manifest */
export const worldOf = (manifest) => WORLDS.find((world) => world.fits(manifest)) ?? null;
