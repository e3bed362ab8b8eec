// Small ways to build a page.

export const byId = (id) => document.getElementById(id);

export function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Something that is done when it was asked for, once within so many milliseconds; what fails is done the next time. */
export function soon(every, act) {
  let timer;
  return () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      Promise.resolve(act()).catch(() => undefined);
    }, every);
  };
}

const format = new Intl.NumberFormat();
export const number = (value) => format.format(value);

/** A user, or somebody who is told to nobody. */
export const who = (user) => user ?? 'Somebody';
