#!/usr/bin/env python3
"""Reads the records of a shard's log, written from docs/records.md alone.

    ./records.py --brokers 127.0.0.1:9092 --topic main.wallet --partition 3     events of one shard, a JSON line each
    ./records.py --hex record.hex                                               one record in hexadecimal digits
    ./records.py --event-hex event.hex                                          one event of a wallet shard

Only the first needs kafka-python.
"""

import argparse
import json
import sys
import uuid

ASSUMED_FORMAT = 1
CHANNELS = ["apple", "wechat", "alipay", "douyin", "manual"]


class Reader:
    """Values one after the other."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise ValueError(f"the bytes end at {len(self.data)}, {count} more are needed at {self.at}")
        piece = self.data[self.at : self.at + count]
        self.at += count
        return piece

    def byte(self):
        return self.take(1)[0]

    def number(self):
        first = self.byte()
        if first < 251:
            return first
        width = {251: 2, 252: 4, 253: 8}.get(first)
        if width is None:
            raise ValueError(f"{first} begins no number")
        return int.from_bytes(self.take(width), "little")

    def option(self, read):
        flag = self.byte()
        if flag > 1:
            raise ValueError(f"{flag} is neither 0 nor 1")
        return read() if flag else None

    def list(self, read):
        return [read() for _ in range(self.number())]

    def text(self):
        return self.take(self.number()).decode()

    def id(self):
        return str(uuid.UUID(bytes=bytes(self.take(16))))

    def trace(self):
        return self.take(16).hex()

    def amounts(self):
        return {"asset": self.number(), "amount": self.number()}


def gift_sent(r):
    event = {
        "event_id": r.id(), "key": r.option(r.text), "sender": r.number(), "room": r.number(), "gift": r.number(),
        "count": r.number(), "receivers": r.list(r.number), "combo": r.option(r.number),
        "catalog": r.number(), "unit_price": r.number(), "asset": r.number(), "balance": r.number(),
    }

    def credit():
        kind = r.number()
        if kind > 1:
            raise ValueError(f"payee {kind} is unknown")
        user = event["receivers"][r.byte()] if kind == 0 else r.number()
        return {"user": user, "amount": r.number(), "balance": r.option(r.number), "spread": r.byte()}

    event["credits"] = r.list(credit)
    event["points"] = r.option(lambda: {"asset": r.number(), "amount": r.number(), "balance": r.number()})
    event["trace"] = r.option(r.trace)
    return event


def recharge_said(r):
    return {
        "channel": CHANNELS[r.number()], "transaction": r.text(), "user": r.number(), "asset": r.number(),
        "amount": r.number(),
    }


def recharged(r):
    return recharge_said(r) | {"balance": r.number(), "trace": r.option(r.trace)}


def transferred(r):
    return {
        "event_id": r.id(), "key": r.option(r.text), "user": r.number(), "debits": r.list(r.amounts),
        "credits": r.list(lambda: {"user": r.number(), "asset": r.number(), "amount": r.number()}),
        "reference": r.option(r.text), "debited": r.list(r.number),
        "credited": r.list(lambda: r.option(r.number)), "trace": r.option(r.trace),
    }


def credits_applied(r):
    return {
        "sources": r.list(lambda: {"source": r.number(), "up_to": r.number(), "sums": r.list(r.amounts)}),
        "credits": r.list(
            lambda: {"user": r.number(), "asset": r.number(), "amount": r.number(), "balance": r.number()}
        ),
    }


WALLET_EVENTS = [
    ("gift_sent", gift_sent), ("recharged", recharged), ("transferred", transferred),
    ("credits_applied", credits_applied), ("transaction_bound", recharge_said),
    ("gift_sent_anonymously", gift_sent),
]


def wallet_event(r):
    kind = r.number()
    if kind >= len(WALLET_EVENTS):
        raise ValueError(f"event {kind} is unknown: a newer program wrote it")
    name, read = WALLET_EVENTS[kind]
    return {"kind": name} | read(r)


def record(data):
    """Header and, of a record of events, the events."""
    r = Reader(data)
    form = r.byte()
    if form != ASSUMED_FORMAT:
        raise ValueError(f"format {form} is unknown, this program reads {ASSUMED_FORMAT}")
    kind = r.number()
    if kind == 0:
        return {"claim": {"node": r.number(), "nonce": r.take(16).hex()}}
    if kind != 1:
        raise ValueError(f"header {kind} is unknown")
    header = {name: r.number() for name in ("epoch", "number", "first_seq", "count", "time")}
    events = []
    for place in range(header["count"]):
        events.append({"seq": header["first_seq"] + place} | wallet_event(r))
    if r.at < len(data):
        header["left_over"] = len(data) - r.at
    return header | {"events": events}


class Fold:
    """The one rule by which everybody reads a shard's log."""

    def __init__(self):
        self.epoch, self.next = None, 1

    def believes(self, offset, read):
        if "claim" in read:
            self.epoch = offset
            return False
        if self.epoch is None and offset > 1:
            # A log that was cut: what counts is known from its first claim on.
            self.next = read["first_seq"] + read["count"]
            return False
        if read["epoch"] != self.epoch or read["first_seq"] != self.next:
            return False
        self.next += read["count"]
        return True


def follow(options):
    from kafka import KafkaConsumer, TopicPartition

    part = TopicPartition(options.topic, options.partition)
    consumer = KafkaConsumer(bootstrap_servers=options.brokers.split(","), enable_auto_commit=False, group_id=None)
    consumer.assign([part])
    consumer.seek_to_beginning(part)
    end, fold = consumer.end_offsets([part])[part], Fold()
    while consumer.position(part) < end:
        for messages in consumer.poll(timeout_ms=500).values():
            for message in messages:
                read = record(message.value)
                if fold.believes(message.offset, read):
                    for event in read["events"]:
                        print(json.dumps({"offset": message.offset, "time": read["time"]} | event))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--brokers", default="127.0.0.1:9092")
    arguments.add_argument("--topic", default="main.wallet")
    arguments.add_argument("--partition", type=int, default=0)
    arguments.add_argument("--hex", metavar="FILE")
    arguments.add_argument("--event-hex", metavar="FILE")
    options = arguments.parse_args()
    one = options.hex or options.event_hex
    if one is None:
        return follow(options)
    with open(one, encoding="ascii") as file:
        data = bytes.fromhex("".join(file.read().split()))
    if options.hex:
        print(json.dumps(record(data)))
    else:
        reader = Reader(data)
        event = wallet_event(reader)
        if reader.at < len(data):
            sys.exit(f"{len(data) - reader.at} bytes are left over")
        print(json.dumps(event))


if __name__ == "__main__":
    main()
