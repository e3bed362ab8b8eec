// What only `largesse dev` has: viewers to look as, and coins for nothing.

import { byId, element } from './view.js';

export async function helpers(enter, recharged) {
  const answer = await fetch('/dev/viewers');
  if (!answer.ok) {
    byId('note').textContent = 'Open this page with a token behind #: /room#room=…&token=…';
    return;
  }
  const { viewers } = await answer.json();
  const pick = byId('viewer');
  pick.replaceChildren(...viewers.map(({ user_id, name }) => element('option', { value: user_id }, name)));
  const asked = new URLSearchParams(location.search).get('as');
  const first = viewers.find(({ user_id }) => user_id === asked) ?? viewers[0];
  pick.value = first.user_id;
  byId('pick').hidden = false;
  const chosen = () => viewers.find(({ user_id }) => user_id === pick.value);
  pick.addEventListener('change', () => void enter(chosen().user_id, chosen().token));
  const recharge = byId('recharge');
  recharge.hidden = false;
  recharge.addEventListener('click', async () => {
    const body = JSON.stringify({ user_id: pick.value });
    await fetch('/dev/coins', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
    await recharged();
  });
  await enter(first.user_id, first.token);
}
