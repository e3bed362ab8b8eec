// A room over somebody else's picture: what is given, streaks, goals and who leads. It only looks, so its token needs no more
// than the scope `read`.

import { Live } from '/client/index.js';
import { Boards } from '/room/boards.js';
import { Stage } from '/room/stage.js';
import { byId, soon } from '/room/view.js';

/** Gifts that are listed, and places of the board. */
const LINES = 5;
const PLACES = 3;
/** How often goals are looked at, at most, and when what failed is tried again, in milliseconds. */
const EVERY = 1_000;
const AGAIN = 5_000;

// No server ever sees what stands behind `#`.
const given = new URLSearchParams(location.hash.slice(1));
const [room, token] = [given.get('room'), given.get('token')];
addEventListener('hashchange', () => location.reload());

async function read(what) {
  const path = `/v1/rooms/${encodeURIComponent(room)}${what}`;
  const answer = await fetch(path, { headers: { Authorization: `Bearer ${token}` } });
  if (answer.ok) return answer.json();
  const { detail } = await answer.json().catch(() => ({}));
  throw new Error(detail ?? `the room answered ${answer.status}`);
}

async function begin() {
  const [{ gifts }, { plugins }] = [await read('/catalog'), await read('')];
  const stage = new Stage(new Map(gifts.map((gift) => [gift.gift_id, gift])), LINES);
  stage.showPlugins(plugins);
  const boards = new Boards(room, token, { places: PLACES, onShown: (entries) => (byId('top').hidden = entries === 0) });
  const lookAtPlugins = soon(EVERY, async () => stage.showPlugins((await read('')).plugins));
  const live = new Live({
    url: '',
    bearer: token,
    room,
    onItems: (items, rest) => {
      stage.given(items, rest);
      boards.refreshSoon();
      lookAtPlugins();
    },
    onChange: () => tell(live),
  });
  live.open();
}

function tell({ status, lastBye }) {
  document.documentElement.dataset.status = status;
  // Whoever streams does not want to read of every lost connection: it comes back by itself. A token does not.
  if (status === 'live') note('');
  else if (lastBye === 'unauthenticated' || lastBye === 'token_expired') note('This token is not good any more.');
}

function note(text) {
  byId('note').textContent = text;
}

/** Nobody sits in front of it to press a button. */
async function beginUntilItDoes() {
  try {
    await begin();
    note('');
  } catch (error) {
    note(error.message);
    setTimeout(() => void beginUntilItDoes(), AGAIN);
  }
}

byId('room-id').textContent = room ?? '';
if (room && token) void beginUntilItDoes();
else note('Open this page with a room and a read-only token behind #: /overlay#room=…&token=…');
