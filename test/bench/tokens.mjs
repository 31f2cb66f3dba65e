// Prompts: the same ids for every engine, none of them a special token or byte.

const FIRST = 300;

/**
 * @param {number} count
 * @param {number} vocabulary
 * @returns {number[]}
 */
export function randomIds(count, vocabulary) {
  let state = 1;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0; // Numerical Recipes' generator
    return FIRST + Math.floor((state / 2 ** 32) * (vocabulary - FIRST));
  });
}
