// What everybody sees: effects, streaks, the list of what is given, plug-ins.

import { byId, element, number, who } from './view.js';

/** Lines of the list, effects at once, and streaks at once. */
const LINES = 60;
const EFFECTS = 3;
const STREAKS = 6;
/** How long an effect shows, and how long an ended streak stays, in milliseconds. */
const EFFECT_MS = 3_000;
const ENDED_MS = 1_500;

export class Stage {
  #streaks = new Map();

  constructor(catalog, lines = LINES) {
    this.catalog = catalog;
    this.lines = lines;
  }

  given(items, rest) {
    for (const item of items) {
      if (item.kind === 'gift') this.#gift(item);
      else if (item.kind === 'combo_end') this.#ended(item.combo.id, item.combo.count);
      else this.#line(said(item), '', item.room_seq, true);
    }
    for (const { delta, events } of rest) {
      this.#line(`and ${number(events)} more gifts`, `${number(delta.value)} ${delta.asset}`, '', false);
    }
  }

  #gift(item) {
    const gift = this.catalog.get(item.gift_id);
    const name = gift?.name ?? `gift ${item.gift_id}`;
    const pieces = item.delta.count > 1 ? ` ×${number(item.delta.count)}` : '';
    const isBig = item.tier === 'large' || item.tier === 'grand';
    const icon = gift && element('img', { src: gift.icon_url, alt: '' });
    const value = `${number(item.delta.value)} ${item.delta.asset}`;
    this.#line(`${who(item.sender)} gives ${name}${pieces} to ${item.to.join(', ')}`, value, item.room_seq, isBig, icon);
    if (item.combo !== null) this.#streak(item, name, icon);
    if (item.effect === 'play' && gift?.effects_url) this.#effect(gift);
  }

  #line(text, value, seq, isBig, icon) {
    const line = element('li', {}, ...(icon ? [icon] : []), element('span', {}, text), element('span', {}, value));
    line.dataset.seq = seq;
    if (isBig) line.dataset.big = '';
    const list = byId('feed');
    list.prepend(line);
    while (list.childElementCount > this.lines) list.lastElementChild.remove();
  }

  #streak(item, name, icon) {
    const { id, count } = item.combo;
    let shown = this.#streaks.get(id);
    if (shown === undefined) {
      if (this.#streaks.size >= STREAKS) return;
      shown = element('p', {}, ...(icon ? [icon.cloneNode()] : []), `${who(item.sender)} ${name} `, element('strong', {}));
      shown.dataset.combo = id;
      this.#streaks.set(id, shown);
      byId('combos').append(shown);
    }
    // For show: it is never added up.
    shown.querySelector('strong').textContent = `×${number(count)}`;
    shown.dataset.state = 'open';
  }

  #ended(id, count) {
    const shown = this.#streaks.get(id);
    if (shown === undefined) return;
    this.#streaks.delete(id);
    shown.querySelector('strong').textContent = `×${number(count)}`;
    shown.dataset.state = 'ended';
    setTimeout(() => shown.remove(), ENDED_MS);
  }

  #effect(gift) {
    const layer = byId('effects');
    if (layer.childElementCount >= EFFECTS) layer.firstElementChild.remove();
    const effect = element('img', { src: gift.effects_url, alt: '' });
    effect.dataset.tier = gift.tier;
    layer.append(effect);
    setTimeout(() => effect.remove(), EFFECT_MS);
  }

  showPlugins(plugins) {
    byId('plugins').replaceChildren(...plugins.map(plugin));
  }
}

function plugin(state) {
  if (state.kind === 'goal') {
    const told = `Goal: ${number(state.reached)} of ${number(state.target)} ${state.asset}`;
    const bar = element('progress', { max: state.target, value: Math.min(state.reached, state.target) });
    bar.setAttribute('aria-label', told);
    return element('div', {}, element('p', {}, told), bar);
  }
  const [one, other] = state.scores;
  const told = `PK: ${state.hosts[0]} ${number(one)} – ${number(other)} ${state.hosts[1]}${state.is_over ? ' (over)' : ''}`;
  const bar = element('progress', { max: Math.max(one + other, 1), value: one });
  bar.setAttribute('aria-label', told);
  return element('div', {}, element('p', {}, told), bar);
}

function said(item) {
  switch (item.kind) {
    case 'live_start':
      return `Live ${item.live} begins`;
    case 'live_end':
      return `Live ${item.live} is over`;
    case 'goal_reached':
      return `The goal of ${number(item.target)} ${item.asset} is reached, by ${who(item.by)}`;
    case 'pk_end':
      return `PK over: ${item.hosts[0]} ${number(item.scores[0])} – ${number(item.scores[1])} ${item.hosts[1]}`;
    default:
      return item.kind;
  }
}
