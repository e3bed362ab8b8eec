// The room page: who looks, what is given, and what everybody sees of it.

import { BrowserOutbox, Client, Combos, Live } from '/client/index.js';

import { Boards } from './boards.js';
import { helpers } from './helpers.js';
import { Stage } from './stage.js';
import { byId, element, number } from './view.js';

// A page that is embedded brings its token behind `#`, which no server ever sees.
const given = new URLSearchParams(location.hash.slice(1));
const room = given.get('room') ?? new URLSearchParams(location.search).get('room') ?? '1001';

class Room {
  #client;
  #combos;
  #live;
  #catalog = new Map();
  #stage;
  #boards;
  #user;
  #isReading = false;

  async enter(user, token) {
    await this.leave();
    this.#user = user;
    const outbox = await BrowserOutbox.open(`room-${user}`);
    this.#client = await Client.open({ url: '', bearer: token, outbox });
    this.#combos = new Combos(this.#client);
    const { gifts } = await this.#client.catalog(room);
    this.#catalog = new Map(gifts.map((gift) => [gift.gift_id, gift]));
    this.#stage = new Stage(this.#catalog);
    this.#boards = new Boards(room, token);
    await this.#showRoom(token);
    this.#showGifts(gifts);
    void this.#client.resume();
    void this.#showBalance();
    this.#live = new Live({
      url: '',
      bearer: token,
      room,
      onItems: (items, rest) => this.#given(items, rest, token),
      onChange: () => this.#changed(),
    });
    this.#live.open();
  }

  async leave() {
    this.#live?.close();
    this.#combos?.flush();
    await this.#client?.close();
    for (const id of ['feed', 'combos', 'effects', 'board', 'own-rank', 'note']) byId(id).replaceChildren();
  }

  /** Hosts and plug-ins, which do not come over the socket. */
  async #showRoom(token) {
    const answer = await fetch(`/v1/rooms/${room}`, { headers: { Authorization: `Bearer ${token}` } });
    if (!answer.ok) throw new Error(`the room answered ${answer.status}`);
    const state = await answer.json();
    this.#stage.showPlugins(state.plugins);
    const hosts = byId('hosts');
    if (hosts.dataset.of === state.hosts.join()) return;
    hosts.dataset.of = state.hosts.join();
    hosts.replaceChildren(
      ...state.hosts.map((host, place) => {
        const box = element('input', { type: 'checkbox', value: host, checked: place === 0 });
        return element('label', {}, box, `Host ${host}`);
      }),
    );
  }

  #showGifts(gifts) {
    const sorted = gifts.filter((gift) => gift.asset === 'coin').sort((one, other) => one.price - other.price);
    byId('gifts').replaceChildren(
      ...sorted.map((gift) => {
        const icon = element('img', { src: gift.icon_url, alt: '', loading: 'lazy', width: 40, height: 40 });
        const price = element('small', {}, number(gift.price));
        const button = element('button', { type: 'button' }, icon, element('span', {}, gift.name), price);
        button.dataset.gift = gift.gift_id;
        button.addEventListener('click', () => void this.#tap(gift));
        return button;
      }),
    );
  }

  async #tap(gift) {
    const to = [...byId('hosts').querySelectorAll('input:checked')].map((box) => box.value);
    if (to.length === 0) return this.#note('Choose who gets it.');
    this.#note('');
    try {
      const anonymous = byId('anonymous').checked;
      const tap = { room, gift_id: gift.gift_id, to, price_seen: gift.price, ...(anonymous && { anonymous }) };
      const outcome = await this.#combos.tap(tap);
      this.#told(outcome);
    } catch (error) {
      this.#note(`It was not sent: ${error.message}`);
    }
    void this.#showBalance();
  }

  #told(outcome) {
    if (outcome.outcome === 'applied') return;
    if (outcome.outcome === 'pending') return this.#note('It is on its way; this page goes on with it.');
    const { problem } = outcome;
    this.#note(problem?.prompt ?? problem?.detail ?? 'It was refused.');
  }

  async #showBalance() {
    // One look at a time; the last one is right.
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      const { balances } = await this.#client.balances();
      byId('balance').textContent = number(balances.find(({ asset }) => asset === 'coin')?.amount ?? 0);
    } catch (error) {
      if (error.problem?.code === 'unauthenticated') this.#note('This token is not good any more.');
    } finally {
      this.#isReading = false;
    }
  }

  #given(items, rest, token) {
    this.#stage.given(items, rest);
    this.#boards.refreshSoon();
    const concerns = items.some((item) => item.sender === this.#user || item.to?.includes(this.#user));
    if (concerns) void this.#showBalance();
    const isPluginNews = items.some(({ kind }) => kind !== 'gift' && kind !== 'combo_end');
    if (isPluginNews || byId('plugins').childElementCount > 0) void this.#showRoom(token).catch(() => undefined);
  }

  #changed() {
    const live = this.#live;
    if (live === undefined) return;
    const status = byId('status');
    [status.textContent, status.dataset.state] = [live.status, live.status];
    const badge = byId('live');
    if (live.live !== undefined) {
      badge.textContent = live.live.state === 'open' ? `live ${live.live.number}` : 'closed';
      badge.dataset.state = live.live.state;
    }
    byId('viewers').textContent = number(live.viewers);
    const coins = live.totals.find(({ asset }) => asset === 'coin');
    byId('total').textContent = number(coins?.value ?? 0);
    byId('total-gifts').textContent = number(coins?.gifts ?? 0);
    const sum = live.sums.get('coin');
    if (sum !== undefined) {
      byId('sum').textContent = `Since you came, by what was shown: ${number(sum.value)} in coins.`;
      byId('sum').dataset.value = sum.value;
    }
    document.documentElement.dataset.seq = live.roomSeq;
  }

  async refreshBalance() {
    await this.#showBalance();
  }

  #note(text) {
    byId('note').textContent = text;
  }
}

byId('room-id').textContent = room;
const page = new Room();
const enter = (user, token) => page.enter(user, token).catch((error) => (byId('note').textContent = String(error.message)));
if (given.has('token')) {
  const token = given.get('token');
  const user = JSON.parse(atob(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/'))).sub;
  await enter(user, token);
} else {
  await helpers(enter, () => page.refreshBalance());
}
