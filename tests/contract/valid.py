"""Makes the links of the public port's description followable; see `run`.

What is made up fits the description, but hardly ever the books: nobody sells gift 2871, nobody can pay for it, and room 0
has no hosts. So the requests that links begin at get what `largesse dev` knows, and a key that is new each time; the rest of
each stays as it was made up. A link's own parameters are never touched: they come from the answer before.
"""

import uuid

import schemathesis

ROOM, HOSTS, VIEWER, FRIEND, GIFT = "1001", ["2001", "2002"], "3001", "3002", 9


def coins(amount):
    """Little, so that the viewer's money lasts."""
    return 1 + amount % 5


def gift(case):
    case.path_parameters["room"] = ROOM
    # The key is in the body.
    case.headers.pop("Idempotency-Key", None)
    case.body.pop("price_seen", None)
    to = HOSTS[: 1 + len(case.body["to"]) % len(HOSTS)]
    # A viewer may name himself, a service must.
    case.body.update(gift_id=GIFT, count=coins(case.body["count"]), to=to, sender=VIEWER, event_id=str(uuid.uuid4()))


def recharge(case):
    # More than gifts and transfers take.
    case.body.update(user_id=VIEWER, asset="coin", amount=1000, transaction_id=str(uuid.uuid4()))


def transfers(case):
    for at, transfer in enumerate(case.body["transfers"]):
        # By turns away from the viewer and to him, for both sides of his history.
        payer, receiver = (VIEWER, HOSTS[0]) if at % 2 == 0 else (FRIEND, VIEWER)
        amount = coins(at)
        transfer.update(event_id=str(uuid.uuid4()), user_id=payer)
        transfer["debits"] = [{"asset": "coin", "amount": amount}]
        transfer["credits"] = [{"user_id": receiver, "asset": "coin", "amount": amount}]


def own_history(case):
    # One item to a page, so that there is a next one; nothing at all is from a room, user or time that is made up.
    for name in "asset", "room", "peer", "since", "until":
        case.query.pop(name, None)
    case.query["limit"] = 1


def history(case):
    own_history(case)
    case.path_parameters["user"] = VIEWER


def room(case):
    # Not the one that gifts are sent in: what is made up has other hosts, or closes it.
    case.path_parameters["room"] = "7777"


VALID = {
    "setRoom": room,
    "closeRoom": room,
    "sendGift": gift,
    "recharge": recharge,
    "transferBatch": transfers,
    "ownHistory": own_history,
    "historyOfUser": history,
}


@schemathesis.hook
def map_case(context, case):
    fit = VALID.get(case.operation.definition.raw["operationId"])
    if fit:
        # An attempt's deadline may have passed before it is sent.
        case.headers.pop("Largesse-Deadline", None)
        fit(case)
    return case
