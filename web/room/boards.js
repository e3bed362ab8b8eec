// Who gave the most: in this live, today, this week.

import { byId, element, number, soon, who } from './view.js';

/** Boards are looked at this often at most, in milliseconds. */
const EVERY = 1_000;

export class Boards {
  #period = 'live';

  constructor(room, token, { places = 10, onShown = () => undefined } = {}) {
    this.room = room;
    this.token = token;
    this.places = places;
    this.onShown = onShown;
    this.refreshSoon = soon(EVERY, () => this.refresh());
    for (const tab of document.querySelectorAll('.tabs button')) {
      tab.onclick = () => {
        this.#period = tab.dataset.period;
        for (const other of document.querySelectorAll('.tabs button')) {
          other.setAttribute('aria-pressed', String(other === tab));
        }
        void this.refresh();
      };
    }
    void this.refresh();
  }

  async refresh() {
    const period = this.#period;
    const path = `/v1/rooms/${encodeURIComponent(this.room)}/boards/${period}?asset=coin&limit=${this.places}`;
    const answer = await fetch(path, { headers: { Authorization: `Bearer ${this.token}` } }).catch(() => undefined);
    if (!answer?.ok || period !== this.#period) return;
    const { entries, own, own_anonymous } = await answer.json();
    const line = ({ rank, user_id, value }) =>
      element('li', {}, element('span', {}, `${rank}.`), element('span', {}, who(user_id)), element('span', {}, number(value)));
    byId('board').replaceChildren(...entries.map(line));
    this.onShown(entries.length);
    const place = ({ rank, value }) => `number ${number(rank)} with ${number(value)}`;
    const places = [own && `You are ${place(own)}.`, own_anonymous && `Anonymously you are ${place(own_anonymous)}.`];
    const ownRank = byId('own-rank');
    if (ownRank !== null) ownRank.textContent = places.filter(Boolean).join(' ');
  }
}
