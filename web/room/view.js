// Small ways to build a page.

export const byId = (id) => document.getElementById(id);

export function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const format = new Intl.NumberFormat();
export const number = (value) => format.format(value);

/** A user, or somebody who is told to nobody. */
export const who = (user) => user ?? 'Somebody';
