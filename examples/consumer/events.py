#!/usr/bin/env python3
"""Follows the topic of events and keeps, in a database of its own, what each user's accounts gained and lost.

    pip install -r requirements.txt
    ./events.py --brokers 127.0.0.1:9092 --topic main.events --database sums.db

Messages arrive at least once. The id of each is unique for ever, so this program remembers which it has booked, in the
same transaction that books it: however often a message comes, it counts once. With --until-end it stops where the topic
ends now, and prints the sums as JSON.
"""

import argparse
import json
import sqlite3
import sys

from kafka import KafkaConsumer, TopicPartition


def open_database(path):
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript("""
        CREATE TABLE IF NOT EXISTS booked (message TEXT PRIMARY KEY) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS sum (user INTEGER, asset INTEGER, amount INTEGER, PRIMARY KEY (user, asset));
        CREATE TABLE IF NOT EXISTS place (part INTEGER PRIMARY KEY, next INTEGER);
    """)
    return database


def book(database, message):
    """Books one message and where reading goes on. Returns whether it was new."""
    body = json.loads(message.value)["messageBody"]
    database.execute("BEGIN IMMEDIATE")
    new = database.execute("INSERT OR IGNORE INTO booked VALUES (?)", [body["messageId"]]).rowcount == 1
    if new:
        database.execute(
            "INSERT INTO sum VALUES (?, ?, ?) ON CONFLICT (user, asset) DO UPDATE SET amount = amount + excluded.amount",
            [body["userId"], body["assetType"], body["incr"]],
        )
    database.execute("INSERT OR REPLACE INTO place VALUES (?, ?)", [message.partition, message.offset + 1])
    database.execute("COMMIT")
    return new


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--brokers", default="127.0.0.1:9092")
    arguments.add_argument("--topic", default="main.events")
    arguments.add_argument("--database", default="sums.db")
    arguments.add_argument("--until-end", action="store_true")
    options = arguments.parse_args()

    database = open_database(options.database)
    # Positions are kept beside the sums and not in Kafka: so they can never disagree.
    consumer = KafkaConsumer(bootstrap_servers=options.brokers.split(","), enable_auto_commit=False, group_id=None)
    parts = [TopicPartition(options.topic, part) for part in sorted(consumer.partitions_for_topic(options.topic) or [])]
    if not parts:
        sys.exit(f"there is no topic {options.topic}: are events enabled, and was there a first one?")
    consumer.assign(parts)
    places = dict(database.execute("SELECT part, next FROM place"))
    first, end = consumer.beginning_offsets(parts), consumer.end_offsets(parts)
    for part in parts:
        consumer.seek(part, max(places.get(part.partition, 0), first[part]))

    booked = repeated = 0
    while not options.until_end or any(consumer.position(part) < end[part] for part in parts):
        for messages in consumer.poll(timeout_ms=500).values():
            for message in messages:
                if book(database, message):
                    booked += 1
                else:
                    repeated += 1
        if not options.until_end:
            print(f"{booked} booked, {repeated} repeated", file=sys.stderr)
    sums = [
        {"user": user, "asset": asset, "amount": amount}
        for user, asset, amount in database.execute("SELECT * FROM sum ORDER BY user, asset")
    ]
    # Over all runs: how many messages were read, and how many of them counted.
    read = database.execute("SELECT COALESCE(SUM(next), 0) FROM place").fetchone()[0]
    counted = database.execute("SELECT COUNT(*) FROM booked").fetchone()[0]
    print(json.dumps({"read": read, "counted": counted, "sums": sums}))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
