// Made from the server's description of itself by `npm run types`. Do not edit.

export interface paths {
    "/assets/{path}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** An icon or effect of a gift */
        get: operations["asset"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/healthz": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The process runs and answers
         * @description `/health` is another name of it.
         */
        get: operations["health"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/openapi.json": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** This description */
        get: operations["description"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/openapi/interaction/gift/v1/listgift": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** The gifts of a room */
        post: operations["stationListGift"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/openapi/interaction/gift/v1/sendgift": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Send a gift
         * @description Answered within a second; an outcome that is not known by then is `errCode` 20052, and never a failure.
         */
        post: operations["stationSendGift"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/openapi/payment/da/v1/getassetrecords": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Records of the changes of a user's assets, newest first */
        post: operations["stationGetAssetRecords"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/openapi/payment/da/v1/getassets": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Assets of up to 50 users */
        post: operations["stationGetAssets"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/openapi/payment/station/v1/changeassets": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Change assets
         * @description Up to 50 events, each carried out or refused for itself. Answered within a second: what is not known by then has no
         *     `changeRes`, and the whole answer has `errCode` 20052. Sending the same again is safe.
         */
        post: operations["stationChangeAssets"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/balances:query": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Balances of up to 50 users
         * @description Each is read for itself from the shard that owns it; one that cannot be read has an `error` instead.
         */
        post: operations["queryBalances"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/gifts/{event_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Find what became of a key
         * @description The receipt of a gift, recharge or transfer. The question goes through the shard that owns the account, behind all that
         *     was admitted before. A 404 has `final: true` when an attempt with this deadline can no longer be decided.
         */
        get: operations["findEvent"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/me/balances": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** A viewer's own balances */
        get: operations["ownBalances"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/me/history": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** A viewer's own history */
        get: operations["ownHistory"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/recharges": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Report a payment
         * @description Issues what was paid for, once per channel and transaction.
         */
        post: operations["recharge"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/recharges/callbacks/{channel}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * A payment provider reports
         * @description In the provider's own form, which proves itself; nobody logs in. What it says and how it is thanked is the provider's.
         */
        post: operations["paymentReport"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/rooms/{room}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * A room
         * @description Its settings, and how it stands.
         */
        get: operations["getRoom"];
        /**
         * Open a room, or change how it is set
         * @description A room that is not there yet is made, one that was closed begins another live. What is left out of the body is not set:
         *     the room is as the body says, whatever it was before.
         */
        put: operations["setRoom"];
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/rooms/{room}:close": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Close a room
         * @description Its live ends, and with it every streak. Gifts are refused from now on; those that were paid before are still shown. It
         *     keeps its settings.
         */
        post: operations["closeRoom"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/rooms/{room}/boards/{period}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * A board of a room
         * @description Of this live, of the day or of the week of business. Places below the entries are exact as well.
         */
        get: operations["roomBoard"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/rooms/{room}/catalog": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The gifts of a room */
        get: operations["roomCatalog"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/rooms/{room}/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * A room's feed as it happens
         * @description Server-sent events. The `data` of each is an entry of the feed, `event` its kind, and `id` its place. An event `gap` says
         *     that the reader's place is not one of this feed, and from where it goes on: read a snapshot then. A stream ends from time
         *     to time; come back with `Last-Event-ID`, and nothing is missed.
         */
        get: operations["roomEvents"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/rooms/{room}/feed": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * A room's feed
         * @description Everything that happened in the room, in the order in which it was shown. `delta` of gifts is the only field that is
         *     ever summed: per asset, it comes to what these gifts debited.
         */
        get: operations["roomFeed"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/rooms/{room}/gifts": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Send a gift
         * @description To one host or several at once: one debit, all credits, or nothing. The request needs a key, as `Idempotency-Key` or
         *     `event_id`; the same key with the same body returns the first receipt, however often and however late.
         */
        post: operations["sendGift"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/rooms/{room}/pass": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * A pass for a room
         * @description For the viewer himself, who sends it with his gifts as `Largesse-Room-Pass` where passes are asked for.
         */
        post: operations["roomPass"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/rooms/{room}/snapshot": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * A room to begin with
         * @description All of it counts up to `room_seq`: go on with the feed or the stream with `?after=` that number, and nothing is missed
         *     and nothing counted twice.
         */
        get: operations["roomSnapshot"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/transfers:batch": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Carry out up to a thousand transfers
         * @description Each is applied or refused for itself, and the answer has one result per transfer, in order. Transfers of one acting
         *     user are decided in the order given. Credits must equal debits per asset, unless the caller may issue.
         */
        post: operations["transferBatch"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/users/{user}/balances": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** A user's balances */
        get: operations["balancesOfUser"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/users/{user}/history": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** A user's history */
        get: operations["historyOfUser"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /** @description In the asset's smallest unit. */
        Amount: number;
        AnyReceipt: components["schemas"]["GiftReceipt"] | components["schemas"]["RechargeReceipt"] | components["schemas"]["TransferReceipt"];
        Balance: {
            amount: components["schemas"]["Amount"];
            asset: string;
        };
        Balances: {
            balances: components["schemas"]["Balance"][];
            position: components["schemas"]["Position"];
        };
        /** @description What a user has, or why that cannot be told right now. */
        BalancesOfUser: {
            balances?: components["schemas"]["Balance"][];
            error?: components["schemas"]["Problem"];
            position?: components["schemas"]["Position"];
            user_id: components["schemas"]["IdText"];
        };
        BalancesOfUsers: {
            /** @description One per user, in the order asked. */
            users: components["schemas"]["BalancesOfUser"][];
        };
        /** @description One event: what it takes from the user who acts, and what it gives to another. */
        BizEventAssetChange: {
            bizId: number | string;
            bizType: number | ("none" | "live" | "recharge");
            /** @description The key: the same id with the same change is carried out once. */
            eventId: string;
            eventType: number | ("none" | "interactGift" | "orderApple" | "orderWX" | "orderAlipay" | "orderDouyin");
            /** @description The gift, or the payment's number at its channel, which is then the key. */
            objId: string;
            opUserAssetChange: components["schemas"]["UserAssetChangeInfo"];
            opUserId: components["schemas"]["Id"];
            toUserAssetChange?: components["schemas"]["UserAssetChangeInfo"] | null;
        };
        BizEventAssetChangeRes: {
            /** @description Absent where it is not known, which is not the same as false. */
            changeRes?: boolean;
            /** Format: int32 */
            errCode: number;
            eventId: string;
            failMsg: string;
            opUserAsset?: components["schemas"]["UserAsset"];
            /** @description Where to ask for an outcome that is not known. */
            poll?: string;
        };
        Board: {
            /** @description The entry of the feed up to which it counts. */
            as_of: components["schemas"]["Seq"];
            asset: string;
            /** @description Best first. */
            entries: components["schemas"]["Ranked"][];
            /** @description The board has no place for whoever is not on it yet. */
            is_full: boolean;
            own: components["schemas"]["Ranked"] | null;
            /** @description The place of what the same user gave anonymously, if there is one. */
            own_anonymous?: components["schemas"]["Ranked"];
            period: components["schemas"]["BoardPeriod"];
            /** @description Places on this board, of all assets. */
            ranked: number;
            side: components["schemas"]["BoardSide"];
        };
        /** @enum {string} */
        BoardPeriod: "live" | "day" | "week";
        /** @enum {string} */
        BoardSide: "senders" | "hosts";
        CatalogVersion: number;
        Change: {
            amount: components["schemas"]["Amount"];
            asset: string;
            /** @description Of the acting user, right after this event, where it is known. */
            balance_after?: components["schemas"]["Amount"];
            user_id: components["schemas"]["IdText"];
        };
        ChangeAssetsAnswer: (components["schemas"]["Envelope"] & components["schemas"]["ChangeAssetsData"]) | (components["schemas"]["Envelope"] & {
            errCode?: number;
        });
        ChangeAssetsData: {
            /** @description One per item, in order. */
            bizAssetChangeResList: components["schemas"]["BizEventAssetChangeRes"][];
        };
        ChangeAssetsRequest: {
            bizAssetChanges: components["schemas"]["BizEventAssetChange"][];
        };
        CloseRoom: {
            /** @description For whoever asks later why it was closed. */
            reason?: string | null;
        };
        /** @description The streak of taps that a gift belongs to. */
        Combo: {
            id: components["schemas"]["IdText"];
        };
        Credit: {
            amount: components["schemas"]["PositiveAmount"];
            /** @example coin */
            asset: string;
            user_id: components["schemas"]["Id"];
        };
        /** @description In milliseconds since 1970. Past it, nothing is decided. */
        DeadlineHeader: string;
        Debit: {
            amount: components["schemas"]["PositiveAmount"];
            /** @example coin */
            asset: string;
        };
        /** @description What every answer has; `errCode` is 0 where all went well. */
        Envelope: {
            /** Format: int32 */
            errCode: number;
            errMsg: string;
            /** @description `traceId` always; of an error its `code`, and what else it has to tell. */
            extra: {
                [key: string]: string;
            };
        };
        /** @description The caller's own spelling of the key. */
        EventId: string;
        FeedCombo: {
            /**
             * Format: int64
             * @description Pieces for each receiver so far.
             */
            count: number;
            /** @description It ends then if nothing is added. */
            expires_at: components["schemas"]["Time"];
            /** @description The entry that opened it. */
            id: components["schemas"]["Seq"];
            /** Format: int64 */
            value: number;
        };
        /** @description A streak is over; each ends once. */
        FeedComboEnd: {
            /** @enum {boolean} */
            anonymous?: true;
            asset: string;
            at: components["schemas"]["Time"];
            /** @enum {string} */
            cause: "time" | "replaced" | "live_ended" | "left";
            combo: components["schemas"]["FeedFinalCombo"];
            gift_id: components["schemas"]["GiftId"];
            /** @enum {string} */
            kind: "combo_end";
            room_seq: components["schemas"]["Seq"];
            sender: components["schemas"]["IdText"] | null;
            to: components["schemas"]["IdText"][];
        };
        /** @description What this entry adds to the room. */
        FeedDelta: {
            asset: string;
            /**
             * Format: int64
             * @description Pieces for each receiver.
             */
            count: number;
            /** @description What these gifts debited: price × count × receivers. */
            value: components["schemas"]["Amount"];
        };
        FeedFinalCombo: {
            /** Format: int64 */
            count: number;
            final: boolean;
            id: components["schemas"]["Seq"];
            /** Format: int64 */
            value: number;
        };
        /** @description Gifts that look alike, as one entry. `delta` is the only field that is ever summed. */
        FeedGift: {
            /** @enum {boolean} */
            anonymous?: true;
            /** @description When the first of them was sent. */
            at: components["schemas"]["Time"];
            combo: components["schemas"]["FeedCombo"] | null;
            delta: components["schemas"]["FeedDelta"];
            /** @enum {string} */
            effect: "none" | "play" | "joined";
            /**
             * Format: int32
             * @description How many gifts were sent.
             */
            events: number;
            gift_id: components["schemas"]["GiftId"];
            /** @enum {string} */
            kind: "gift";
            room_seq: components["schemas"]["Seq"];
            sender: components["schemas"]["IdText"] | null;
            tier: null | ("small" | "medium" | "large" | "grand");
            to: components["schemas"]["IdText"][];
        };
        /** @description A goal is filled; it happens once, whatever is given beyond. */
        FeedGoalReached: {
            /** @enum {boolean} */
            anonymous?: true;
            asset: string;
            at: components["schemas"]["Time"];
            by: components["schemas"]["IdText"] | null;
            /** @enum {string} */
            kind: "goal_reached";
            room_seq: components["schemas"]["Seq"];
            target: components["schemas"]["PositiveAmount"];
        };
        /** @description An entry, ready to be written. */
        FeedItem: components["schemas"]["FeedGift"] | components["schemas"]["FeedComboEnd"] | components["schemas"]["FeedLiveStart"] | components["schemas"]["FeedLiveEnd"] | components["schemas"]["FeedGoalReached"] | components["schemas"]["FeedPkEnd"];
        FeedLiveEnd: {
            at: components["schemas"]["Time"];
            /** @enum {string} */
            kind: "live_end";
            /** Format: int32 */
            live: number;
            room_seq: components["schemas"]["Seq"];
            totals: components["schemas"]["RoomTotal"][];
        };
        FeedLiveStart: {
            at: components["schemas"]["Time"];
            /** @enum {string} */
            kind: "live_start";
            /** Format: int32 */
            live: number;
            room_seq: components["schemas"]["Seq"];
        };
        FeedPage: {
            epoch: string;
            /**
             * @description In order and without gaps. There may be fewer than asked for, even none, although there are more to come: the end is
             *     where `next_after` is `room_seq`.
             */
            items: components["schemas"]["FeedItem"][];
            /** @description The last entry of this page: the next one is after it. */
            next_after: components["schemas"]["Seq"];
            room_id: components["schemas"]["IdText"];
            /** @description The last entry of the feed. */
            room_seq: components["schemas"]["Seq"];
        };
        /** @description A PK is over. */
        FeedPkEnd: {
            asset: string;
            at: components["schemas"]["Time"];
            hosts: components["schemas"]["IdText"][];
            /** @enum {string} */
            kind: "pk_end";
            room_seq: components["schemas"]["Seq"];
            /** @description In the order of `hosts`. */
            scores: number[];
        };
        GetAssetRecordsAnswer: (components["schemas"]["Envelope"] & components["schemas"]["GetAssetRecordsData"]) | (components["schemas"]["Envelope"] & {
            errCode?: number;
        });
        GetAssetRecordsData: {
            cursor?: string;
            records: components["schemas"]["UserAssetRecord"][];
        };
        GetAssetRecordsRequest: {
            /** @description From the answer before. */
            cursor?: string | null;
            limit?: number | null;
            /**
             * Format: int32
             * @description 1: as the one who acted, which is what is meant without it; 2: as the one who received.
             */
            opUserType?: number | null;
            userId: components["schemas"]["Id"];
        };
        GetAssetsAnswer: (components["schemas"]["Envelope"] & components["schemas"]["GetAssetsData"]) | (components["schemas"]["Envelope"] & {
            errCode?: number;
        });
        GetAssetsData: {
            userAssets: components["schemas"]["UserAsset"][];
        };
        GetAssetsRequest: {
            assetType?: null | number | string;
            userIds: components["schemas"]["Id"][];
        };
        GiftId: number;
        GiftReceipt: {
            /** @enum {boolean} */
            anonymous?: true;
            asset: string;
            at: components["schemas"]["Time"];
            /** @description Of the sender, in `asset`, right after this event. */
            balance_after: components["schemas"]["Amount"];
            combo?: components["schemas"]["Combo"];
            /** Format: int32 */
            count: number;
            event_id: components["schemas"]["EventId"];
            gift_id: components["schemas"]["GiftId"];
            /** @enum {string} */
            outcome: "applied";
            position: components["schemas"]["Position"];
            replayed: boolean;
            room_id: components["schemas"]["IdText"];
            to: components["schemas"]["IdText"][];
            total: components["schemas"]["Amount"];
        };
        Healthy: {
            /** @enum {string} */
            status: "ok";
        };
        HistoryItem: {
            amount: components["schemas"]["Amount"];
            /** @enum {boolean} */
            anonymous?: true;
            asset: string;
            at: components["schemas"]["Time"];
            balance_after?: components["schemas"]["Amount"];
            /** Format: int32 */
            count?: number;
            /** @enum {string} */
            direction?: "debit" | "credit";
            event_id: components["schemas"]["EventId"];
            gift_id?: components["schemas"]["GiftId"];
            kind: components["schemas"]["Kind"];
            peers: components["schemas"]["IdText"][];
            /** @description Of a transfer of one's own: what it is for. */
            reference?: string;
            room_id?: components["schemas"]["IdText"];
            side: components["schemas"]["Side"];
        };
        HistoryPage: {
            /** @description Everything received before this time is in the list. */
            complete_until?: components["schemas"]["Time"];
            /** @description Where the next page begins; absent at the end. */
            cursor?: string;
            /** @description Newest first. There may be fewer than asked for, and a cursor nevertheless. */
            items: components["schemas"]["HistoryItem"][];
        };
        /** @description An id: an integer, or the same as a decimal string. */
        Id: number | string;
        /** @description An id as a decimal string: JavaScript cannot hold all of them as numbers. */
        IdText: string;
        KeyHeader: string;
        /** @enum {string} */
        Kind: "gift" | "recharge" | "transfer" | "points";
        LastEventId: string;
        ListedGift: {
            createdAt: string;
            /** @description The price of one. */
            currencyCn: components["schemas"]["PositiveAmount"];
            effectsUrl: string;
            giftCategory: string;
            giftId: components["schemas"]["GiftId"];
            iconUrl: string;
            name: string;
            /** @enum {string} */
            sendRule: "combo" | "single" | "broadcast";
            /** @description The asset that it is paid in. */
            unit: string;
            updatedAt: string;
        };
        ListGiftAnswer: (components["schemas"]["Envelope"] & components["schemas"]["ListGiftData"]) | (components["schemas"]["Envelope"] & {
            errCode?: number;
        });
        ListGiftData: {
            gifts: components["schemas"]["ListedGift"][];
        };
        ListGiftRequest: {
            roomId: components["schemas"]["Id"];
        };
        Live: {
            /**
             * Format: int32
             * @description Lives are counted from 1; 0 before the first.
             */
            number: number;
            since: components["schemas"]["Time"] | null;
            /** @enum {string} */
            state: "open" | "closed";
        };
        /** @description By language tag. */
        Names: {
            [key: string]: string;
        };
        /** @enum {string} */
        NotApplied: "refused" | "unknown";
        Pass: {
            expires_at: string;
            pass: string;
            room_id: string;
        };
        /** @description Where an event is in the books; the shard as a number. */
        Position: {
            seq: components["schemas"]["Seq"];
            /** Format: int32 */
            shard: number;
        };
        PositiveAmount: number;
        /** @description An error, as in RFC 9457; `docs/errors.md` says what to do about each code. */
        Problem: {
            asset?: string;
            available?: number;
            /** @enum {string} */
            code: "bad_request" | "invalid_amount" | "too_many_receivers" | "batch_too_large" | "key_required" | "self_gift" | "cursor_invalid" | "payload_too_large" | "unsupported_media_type" | "unauthenticated" | "forbidden" | "bad_signature" | "method_not_allowed" | "room_pass_invalid" | "not_found" | "gift_unknown" | "room_unknown" | "event_unknown" | "price_changed" | "room_closed" | "host_not_in_room" | "rate_limited" | "id_reused" | "id_time_ahead" | "id_too_old" | "deadline_passed" | "insufficient_funds" | "issue_limit" | "overloaded" | "shard_unavailable" | "outcome_unknown" | "store_unavailable" | "internal" | "service_internal";
            detail: string;
            err_code: number;
            final?: boolean;
            /** Format: date-time */
            final_after?: string;
            needed?: number;
            /** Format: date-time */
            oldest?: string;
            /** @description Where to ask for the outcome. */
            poll?: string;
            price?: number;
            price_seen?: number;
            /** @description For the user, in the language of `Accept-Language`. */
            prompt?: string;
            retryable: boolean;
            /** Format: date-time */
            server_time?: string;
            status: number;
            title: string;
            trace_id: string;
            type: string;
        };
        QueryBalances: {
            /**
             * @example [
             *       "3001",
             *       "2001"
             *     ]
             */
            user_ids: components["schemas"]["Id"][];
        };
        /** @description A place on a board. */
        Ranked: {
            /** @enum {boolean} */
            anonymous?: true;
            /**
             * Format: int64
             * @description From 1. Of two with the same sum the one who had it first is ahead.
             */
            rank: number;
            user_id: components["schemas"]["IdText"] | null;
            /** Format: int64 */
            value: number;
        };
        Recharge: {
            amount: components["schemas"]["PositiveAmount"];
            /**
             * @description By its name in the catalog.
             * @example coin
             */
            asset: string;
            /** @enum {string} */
            channel: "apple" | "wechat" | "alipay" | "douyin" | "manual";
            transaction_id: string;
            user_id: components["schemas"]["Id"];
        };
        RechargeReceipt: {
            amount: components["schemas"]["Amount"];
            asset: string;
            at: components["schemas"]["Time"];
            balance_after: components["schemas"]["Amount"];
            event_id: components["schemas"]["EventId"];
            /** @enum {string} */
            outcome: "applied";
            position: components["schemas"]["Position"];
            replayed: boolean;
            user_id: components["schemas"]["IdText"];
        };
        Room: {
            /** @description Of all time, gifts outside of a live included. */
            all_totals: components["schemas"]["RoomTotal"][];
            epoch: string;
            /** @description The gifts that are sold here; without it all of the catalog are. */
            gifts?: components["schemas"]["GiftId"][];
            hosts: components["schemas"]["IdText"][];
            live: components["schemas"]["Live"];
            /**
             * Format: int32
             * @description Streaks that have not ended yet.
             */
            open_combos: number;
            plugins: components["schemas"]["RoomPlugin"][];
            room_id: components["schemas"]["IdText"];
            /** @description The last entry of the feed, up to which all of this counts; 0 before the first. */
            room_seq: components["schemas"]["Seq"];
            /** @description Of this live. */
            totals: components["schemas"]["RoomTotal"][];
        };
        RoomCatalog: {
            gifts: components["schemas"]["RoomGift"][];
            version: components["schemas"]["CatalogVersion"];
        };
        RoomGift: {
            asset: string;
            category: string;
            created_at: string;
            effects_url: string | null;
            gift_id: components["schemas"]["GiftId"];
            icon_url: string;
            /** @description In the language of the answer. */
            name: string;
            names: components["schemas"]["Names"];
            price: components["schemas"]["PositiveAmount"];
            /** @enum {string} */
            send_rule: "combo" | "single" | "broadcast";
            /** @enum {string} */
            tier: "small" | "medium" | "large" | "grand";
            updated_at: string;
        };
        /** @description A bar that fills with what is given. */
        RoomGoal: {
            asset: string;
            /** @enum {string} */
            kind: "goal";
            /**
             * Format: int64
             * @description May go beyond the target.
             */
            reached: number;
            target: components["schemas"]["PositiveAmount"];
        };
        /** @description Two hosts against each other. */
        RoomPk: {
            asset: string;
            hosts: components["schemas"]["IdText"][];
            is_over: boolean;
            /** @enum {string} */
            kind: "pk";
            /** @description In the order of `hosts`. */
            scores: number[];
            /** @description Without it, it goes on until it is switched off. */
            until?: components["schemas"]["Time"];
        };
        RoomPlugin: components["schemas"]["RoomGoal"] | components["schemas"]["RoomPk"];
        RoomSnapshot: {
            /** @description Of all time, gifts outside of a live included. */
            all_totals: components["schemas"]["RoomTotal"][];
            epoch: string;
            /** @description The gifts that are sold here; without it all of the catalog are. */
            gifts?: components["schemas"]["GiftId"][];
            hosts: components["schemas"]["IdText"][];
            live: components["schemas"]["Live"];
            /**
             * Format: int32
             * @description Streaks that have not ended yet.
             */
            open_combos: number;
            plugins: components["schemas"]["RoomPlugin"][];
            room_id: components["schemas"]["IdText"];
            /** @description The last entry of the feed, up to which all of this counts; 0 before the first. */
            room_seq: components["schemas"]["Seq"];
            top: components["schemas"]["RoomTop"];
            /** @description Of this live. */
            totals: components["schemas"]["RoomTotal"][];
        };
        /** @description The first of this live's boards. */
        RoomTop: {
            asset: string;
            hosts: components["schemas"]["Ranked"][];
            senders: components["schemas"]["Ranked"][];
        };
        /** @description Sums of one asset. They may outgrow an amount: what is given can be given on. */
        RoomTotal: {
            asset: string;
            /**
             * Format: int64
             * @description How many gifts were sent.
             */
            gifts: number;
            value: number;
        };
        SendGift: {
            /** @description Whether nobody is told whose gift it is, in the room and in the hosts' histories. */
            anonymous?: boolean;
            combo_id?: number | string | null;
            /**
             * Format: int32
             * @example 1
             */
            count: number;
            event_id?: null | string;
            gift_id: components["schemas"]["GiftId"];
            price_seen?: components["schemas"]["Amount"] | null;
            sender?: components["schemas"]["Id"] | null;
            to: components["schemas"]["Id"][];
        };
        SendGiftAnswer: (components["schemas"]["Envelope"] & components["schemas"]["SendGiftData"]) | (components["schemas"]["Envelope"] & {
            errCode?: number;
        });
        SendGiftData: {
            eventId: string;
            opUserAsset: components["schemas"]["UserAsset"];
            replayed: boolean;
            total: components["schemas"]["Amount"];
        };
        SendGiftRequest: {
            comboId?: number | string | null;
            /** Format: int32 */
            count: number;
            eventId: string;
            giftId: components["schemas"]["GiftId"];
            opUserId?: components["schemas"]["Id"] | null;
            price?: components["schemas"]["Amount"] | null;
            roomId: components["schemas"]["Id"];
            toUserIds: components["schemas"]["Id"][];
        };
        Seq: number;
        SetRoom: {
            gifts?: null | number[];
            hosts: components["schemas"]["Id"][];
            plugins?: ({
                asset: string;
                /** @enum {string} */
                kind: "goal";
                target: number;
            } | {
                asset: string;
                hosts: components["schemas"]["Id"][];
                /** @enum {string} */
                kind: "pk";
                until?: null | string;
            })[];
            /** @description For whoever asks later why this was changed. */
            reason?: string | null;
        };
        /**
         * @description `sent` are the user's own events: gifts, recharges, transfers, and points earned by them; `received` is what came
         *     from others.
         * @enum {string}
         */
        Side: "sent" | "received";
        /** Format: date-time */
        Time: string;
        Transfer: {
            credits?: components["schemas"]["Credit"][];
            debits?: components["schemas"]["Debit"][];
            event_id: string;
            /** @description What it is for, as it shall stand in the acting user's history. */
            reference?: string | null;
            /** @description The acting user, whose accounts are debited. */
            user_id: components["schemas"]["Id"];
        };
        TransferBatch: {
            /** @description One to a thousand. */
            transfers: components["schemas"]["Transfer"][];
        };
        TransferNotApplied: {
            error: components["schemas"]["Problem"];
            /** @description As it was sent. */
            event_id: string;
            outcome: components["schemas"]["NotApplied"];
        };
        TransferReceipt: {
            at: components["schemas"]["Time"];
            credits: components["schemas"]["Change"][];
            debits: components["schemas"]["Change"][];
            event_id: components["schemas"]["EventId"];
            /** @enum {string} */
            outcome: "applied";
            position: components["schemas"]["Position"];
            replayed: boolean;
            user_id: components["schemas"]["IdText"];
        };
        /** @description What came of one transfer. There are three outcomes, and `unknown` is not a failure. */
        TransferResult: components["schemas"]["TransferReceipt"] | components["schemas"]["TransferNotApplied"];
        TransferResults: {
            /** @description One per transfer, in the order of the request. */
            results: components["schemas"]["TransferResult"][];
        };
        UserAsset: {
            assetCn: components["schemas"]["Amount"];
            /** Format: int32 */
            assetType: number;
            /** Format: int64 */
            userId: number;
        };
        UserAssetChangeInfo: {
            assetType: number | string;
            /**
             * Format: int64
             * @description Below 0 it is a debit.
             */
            incr: number;
            userId: number | string;
        };
        UserAssetRecord: {
            /** @description The balance right after it, where it is known. */
            assetCn?: components["schemas"]["Amount"];
            /** Format: int32 */
            assetType: number;
            /** Format: int64 */
            bizId: number;
            /** Format: int32 */
            bizType: number;
            createdAt: components["schemas"]["Time"];
            eventId: string;
            eventType: string;
            objId: string;
            /** Format: int32 */
            opUserType: number;
            /** @description The amount. */
            record: components["schemas"]["Amount"];
            /** @description `+` or `-`; empty where the user gave what was issued and his own balance did not change. */
            recordOp: string;
            /** Format: int64 */
            userId: number;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    asset: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @example icons/rose.svg */
                path: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The picture. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": unknown;
                    "image/png": unknown;
                    "image/svg+xml": unknown;
                    "image/webp": unknown;
                };
            };
            /** @description What is at hand still holds. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description `bad_request`: The request cannot be understood */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `not_found`: There is nothing at this path */
            404: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    health: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description It does. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Healthy"];
                };
            };
            /** @description `bad_request`: The request cannot be understood */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    description: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OpenAPI 3.1. */
            200: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": Record<string, never>;
                };
            };
            /** @description What is at hand still holds. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description `bad_request`: The request cannot be understood */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    stationListGift: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "roomId": 1001
                 *     }
                 */
                "application/json": components["schemas"]["ListGiftRequest"];
            };
        };
        responses: {
            /** @description Also of an error. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ListGiftAnswer"];
                };
            };
        };
    };
    stationSendGift: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "count": 1,
                 *       "eventId": "example-station-gift",
                 *       "giftId": 9,
                 *       "opUserId": 3001,
                 *       "roomId": 1001,
                 *       "toUserIds": [
                 *         2001
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["SendGiftRequest"];
            };
        };
        responses: {
            /** @description Also of an error. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SendGiftAnswer"];
                };
            };
        };
    };
    stationGetAssetRecords: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "limit": 10,
                 *       "userId": 3001
                 *     }
                 */
                "application/json": components["schemas"]["GetAssetRecordsRequest"];
            };
        };
        responses: {
            /** @description Also of an error. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["GetAssetRecordsAnswer"];
                };
            };
        };
    };
    stationGetAssets: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "userIds": [
                 *         3001
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["GetAssetsRequest"];
            };
        };
        responses: {
            /** @description Also of an error. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["GetAssetsAnswer"];
                };
            };
        };
    };
    stationChangeAssets: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "bizAssetChanges": [
                 *         {
                 *           "bizId": 1001,
                 *           "bizType": 1,
                 *           "eventId": "example-change",
                 *           "eventType": 1,
                 *           "objId": "9",
                 *           "opUserAssetChange": {
                 *             "assetType": 1,
                 *             "incr": -5,
                 *             "userId": 3001
                 *           },
                 *           "opUserId": 3001,
                 *           "toUserAssetChange": {
                 *             "assetType": 1,
                 *             "incr": 5,
                 *             "userId": 2001
                 *           }
                 *         }
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["ChangeAssetsRequest"];
            };
        };
        responses: {
            /** @description Also of an error. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ChangeAssetsAnswer"];
                };
            };
        };
    };
    queryBalances: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["QueryBalances"];
            };
        };
        responses: {
            /** @description One entry per user, in the order asked. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["BalancesOfUsers"];
                };
            };
            /** @description `bad_request`: The request cannot be understood */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unauthenticated`: Who is asking is not proven; `bad_signature`: The request's signature does not fit */
            401: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `forbidden`: Not allowed to this caller */
            403: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `payload_too_large`: The body is too large */
            413: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unsupported_media_type`: The body must be JSON */
            415: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `batch_too_large`: Too many items in one request */
            422: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `shard_unavailable`: The account's shard is not served right now */
            503: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    findEvent: {
        parameters: {
            query?: {
                final_after?: number;
                sender?: string;
            };
            header?: never;
            path: {
                event_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The receipt. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["AnyReceipt"];
                };
            };
            /** @description `bad_request`: The request cannot be understood; `key_required`: An idempotency key is needed */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unauthenticated`: Who is asking is not proven; `bad_signature`: The request's signature does not fit */
            401: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `forbidden`: Not allowed to this caller */
            403: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `event_unknown`: No event has this id */
            404: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `internal`: Something went wrong in the engine; `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `overloaded`: Too much is under way; `shard_unavailable`: The account's shard is not served right now; `store_unavailable`: The store cannot be reached */
            503: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    ownBalances: {
        parameters: {
            query?: {
                after?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description From the shard that owns them. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Balances"];
                };
            };
            /** @description `bad_request`: The request cannot be understood */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unauthenticated`: Who is asking is not proven; `bad_signature`: The request's signature does not fit */
            401: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `forbidden`: Not allowed to this caller */
            403: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `internal`: Something went wrong in the engine; `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `overloaded`: Too much is under way; `shard_unavailable`: The account's shard is not served right now; `store_unavailable`: The store cannot be reached */
            503: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    ownHistory: {
        parameters: {
            query?: {
                /** @description By its name in the catalog. */
                asset?: string;
                /** @description From the page before. */
                cursor?: string;
                kind?: "gift" | "recharge" | "transfer" | "points";
                limit?: number;
                peer?: string;
                room?: string;
                /** @description Own events (the default), or what came from others. */
                side?: "sent" | "received";
                since?: string;
                until?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page, newest first. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["HistoryPage"];
                };
            };
            /** @description `bad_request`: The request cannot be understood; `cursor_invalid`: The cursor was not made by this list */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unauthenticated`: Who is asking is not proven; `bad_signature`: The request's signature does not fit */
            401: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `forbidden`: Not allowed to this caller */
            403: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `internal`: Something went wrong in the engine; `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `overloaded`: Too much is under way; `shard_unavailable`: The account's shard is not served right now; `store_unavailable`: The store cannot be reached */
            503: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    recharge: {
        parameters: {
            query?: never;
            header?: {
                "Largesse-Deadline"?: components["schemas"]["DeadlineHeader"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "amount": 600,
                 *       "asset": "coin",
                 *       "channel": "apple",
                 *       "transaction_id": "example-order",
                 *       "user_id": "3001"
                 *     }
                 */
                "application/json": components["schemas"]["Recharge"];
            };
        };
        responses: {
            /** @description The receipt. */
            200: {
                headers: {
                    /** @description Only where it is the receipt of an earlier attempt. */
                    "Idempotency-Replayed"?: "true";
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["RechargeReceipt"];
                };
            };
            /** @description `bad_request`: The request cannot be understood; `key_required`: An idempotency key is needed */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unauthenticated`: Who is asking is not proven; `bad_signature`: The request's signature does not fit */
            401: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `forbidden`: Not allowed to this caller */
            403: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `id_reused`: The key was used for something else */
            409: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `payload_too_large`: The body is too large */
            413: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unsupported_media_type`: The body must be JSON */
            415: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `invalid_amount`: A count or an amount is out of range; `deadline_passed`: The caller's deadline has passed; `issue_limit`: No more of this asset can be issued */
            422: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `internal`: Something went wrong in the engine; `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `overloaded`: Too much is under way; `shard_unavailable`: The account's shard is not served right now; `store_unavailable`: The store cannot be reached */
            503: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `outcome_unknown`: The outcome is not known */
            504: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    paymentReport: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description A channel of the configuration. */
                channel: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/octet-stream": string;
            };
        };
        responses: {
            /** @description As the provider wants it. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description `bad_request`: The request cannot be understood */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `bad_signature`: The request's signature does not fit */
            401: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `forbidden`: Not allowed to this caller */
            403: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `not_found`: There is nothing at this path */
            404: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `id_reused`: The key was used for something else */
            409: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `payload_too_large`: The body is too large */
            413: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `invalid_amount`: A count or an amount is out of range; `issue_limit`: No more of this asset can be issued */
            422: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `internal`: Something went wrong in the engine; `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `overloaded`: Too much is under way; `shard_unavailable`: The account's shard is not served right now; `store_unavailable`: The store cannot be reached */
            503: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `outcome_unknown`: The outcome is not known */
            504: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    getRoom: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @example 1001 */
                room: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description As of `room_seq`. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Room"];
                };
            };
            /** @description `bad_request`: The request cannot be understood */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unauthenticated`: Who is asking is not proven; `bad_signature`: The request's signature does not fit */
            401: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `forbidden`: Not allowed to this caller */
            403: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `room_unknown`: The room does not exist */
            404: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `internal`: Something went wrong in the engine; `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `overloaded`: Too much is under way; `shard_unavailable`: The account's shard is not served right now; `store_unavailable`: The store cannot be reached */
            503: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    setRoom: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @example 1001 */
                room: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "hosts": [
                 *         "2001",
                 *         "2002"
                 *       ],
                 *       "plugins": [
                 *         {
                 *           "asset": "coin",
                 *           "kind": "goal",
                 *           "target": 10000
                 *         }
                 *       ],
                 *       "reason": "tonight"
                 *     }
                 */
                "application/json": components["schemas"]["SetRoom"];
            };
        };
        responses: {
            /** @description The room, open. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Room"];
                };
            };
            /** @description `bad_request`: The request cannot be understood */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unauthenticated`: Who is asking is not proven; `bad_signature`: The request's signature does not fit */
            401: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `forbidden`: Not allowed to this caller */
            403: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `gift_unknown`: The gift is not sold here; `room_unknown`: The room does not exist */
            404: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `payload_too_large`: The body is too large */
            413: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unsupported_media_type`: The body must be JSON */
            415: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `invalid_amount`: A count or an amount is out of range; `batch_too_large`: Too many items in one request; `host_not_in_room`: A receiver is not a host of this room */
            422: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `internal`: Something went wrong in the engine; `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `overloaded`: Too much is under way; `shard_unavailable`: The account's shard is not served right now; `store_unavailable`: The store cannot be reached */
            503: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `outcome_unknown`: The outcome is not known */
            504: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    closeRoom: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @example 1001 */
                room: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "reason": "the show is over"
                 *     }
                 */
                "application/json": components["schemas"]["CloseRoom"] | null;
            };
        };
        responses: {
            /** @description The room, closed. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Room"];
                };
            };
            /** @description `bad_request`: The request cannot be understood */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unauthenticated`: Who is asking is not proven; `bad_signature`: The request's signature does not fit */
            401: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `forbidden`: Not allowed to this caller */
            403: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `gift_unknown`: The gift is not sold here; `room_unknown`: The room does not exist */
            404: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `payload_too_large`: The body is too large */
            413: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unsupported_media_type`: The body must be JSON */
            415: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `invalid_amount`: A count or an amount is out of range; `batch_too_large`: Too many items in one request; `host_not_in_room`: A receiver is not a host of this room */
            422: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `internal`: Something went wrong in the engine; `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `overloaded`: Too much is under way; `shard_unavailable`: The account's shard is not served right now; `store_unavailable`: The store cannot be reached */
            503: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `outcome_unknown`: The outcome is not known */
            504: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    roomBoard: {
        parameters: {
            query?: {
                /** @description By its name in the catalog. Default: the first that anything was given of. */
                asset?: string;
                limit?: number;
                /** @description Who gave (the default), or who was given. */
                side?: "senders" | "hosts";
                user?: string;
            };
            header?: never;
            path: {
                /** @example live */
                period: "live" | "day" | "week";
                /** @example 1001 */
                room: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description As of `as_of`. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Board"];
                };
            };
            /** @description `bad_request`: The request cannot be understood */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unauthenticated`: Who is asking is not proven; `bad_signature`: The request's signature does not fit */
            401: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `forbidden`: Not allowed to this caller */
            403: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `room_unknown`: The room does not exist */
            404: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `internal`: Something went wrong in the engine; `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `overloaded`: Too much is under way; `shard_unavailable`: The account's shard is not served right now; `store_unavailable`: The store cannot be reached */
            503: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    roomCatalog: {
        parameters: {
            query?: never;
            header?: {
                /** @description `en` or `zh`. */
                "Accept-Language"?: string;
                /** @description The `ETag` of a page that is at hand. */
                "If-None-Match"?: string;
            };
            path: {
                /** @example 1001 */
                room: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description All gifts, with names in the language asked for. */
            200: {
                headers: {
                    "Content-Language"?: string;
                    /** @description Changes when anything does. */
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["RoomCatalog"];
                };
            };
            /** @description What is at hand still holds. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description `bad_request`: The request cannot be understood */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `bad_signature`: The request's signature does not fit */
            401: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `room_unknown`: The room does not exist */
            404: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `shard_unavailable`: The account's shard is not served right now */
            503: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    roomEvents: {
        parameters: {
            query?: {
                after?: number;
            };
            header?: {
                /** @description The `id` of the last event that was read. */
                "Last-Event-ID"?: components["schemas"]["LastEventId"];
            };
            path: {
                /** @example 1001 */
                room: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description It goes on. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/event-stream": string;
                };
            };
            /** @description `bad_request`: The request cannot be understood */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unauthenticated`: Who is asking is not proven; `bad_signature`: The request's signature does not fit */
            401: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `forbidden`: Not allowed to this caller */
            403: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `room_unknown`: The room does not exist */
            404: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `internal`: Something went wrong in the engine; `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `overloaded`: Too much is under way; `shard_unavailable`: The account's shard is not served right now; `store_unavailable`: The store cannot be reached */
            503: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    roomFeed: {
        parameters: {
            query?: {
                after?: number;
                limit?: number;
            };
            header?: never;
            path: {
                /** @example 1001 */
                room: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page, oldest first. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["FeedPage"];
                };
            };
            /** @description `bad_request`: The request cannot be understood */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unauthenticated`: Who is asking is not proven; `bad_signature`: The request's signature does not fit */
            401: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `forbidden`: Not allowed to this caller */
            403: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `room_unknown`: The room does not exist */
            404: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `internal`: Something went wrong in the engine; `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `overloaded`: Too much is under way; `shard_unavailable`: The account's shard is not served right now; `store_unavailable`: The store cannot be reached */
            503: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    sendGift: {
        parameters: {
            query?: never;
            header?: {
                "Idempotency-Key"?: components["schemas"]["KeyHeader"];
                "Largesse-Deadline"?: components["schemas"]["DeadlineHeader"];
            };
            path: {
                /** @example 1001 */
                room: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "count": 10,
                 *       "event_id": "example-gift",
                 *       "gift_id": 9,
                 *       "price_seen": 5,
                 *       "sender": "3001",
                 *       "to": [
                 *         "2001",
                 *         "2002"
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["SendGift"];
            };
        };
        responses: {
            /** @description The receipt. */
            200: {
                headers: {
                    /** @description Only where it is the receipt of an earlier attempt. */
                    "Idempotency-Replayed"?: "true";
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["GiftReceipt"];
                };
            };
            /** @description `bad_request`: The request cannot be understood; `key_required`: An idempotency key is needed */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unauthenticated`: Who is asking is not proven; `bad_signature`: The request's signature does not fit */
            401: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `insufficient_funds`: Not enough on the account */
            402: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `forbidden`: Not allowed to this caller; `room_pass_invalid`: A pass for this room is needed */
            403: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `gift_unknown`: The gift is not sold here; `room_unknown`: The room does not exist */
            404: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `room_closed`: The room is closed; `price_changed`: The price has changed; `id_reused`: The key was used for something else */
            409: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `payload_too_large`: The body is too large */
            413: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unsupported_media_type`: The body must be JSON */
            415: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `invalid_amount`: A count or an amount is out of range; `too_many_receivers`: Too many receivers; `self_gift`: A gift cannot go to its sender; `host_not_in_room`: A receiver is not a host of this room; `id_time_ahead`: The key's time is ahead of the server's; `id_too_old`: The key is older than history; `deadline_passed`: The caller's deadline has passed; `issue_limit`: No more of this asset can be issued */
            422: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `internal`: Something went wrong in the engine; `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `overloaded`: Too much is under way; `shard_unavailable`: The account's shard is not served right now; `store_unavailable`: The store cannot be reached */
            503: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `outcome_unknown`: The outcome is not known */
            504: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    roomPass: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @example 1001 */
                room: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The pass. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Pass"];
                };
            };
            /** @description `bad_request`: The request cannot be understood */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unauthenticated`: Who is asking is not proven; `bad_signature`: The request's signature does not fit */
            401: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `forbidden`: Not allowed to this caller */
            403: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `not_found`: There is nothing at this path; `room_unknown`: The room does not exist */
            404: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `shard_unavailable`: The account's shard is not served right now */
            503: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    roomSnapshot: {
        parameters: {
            query?: {
                /** @description Of which the best are told, by its name in the catalog. Default: the first that anything was given of. */
                asset?: string;
            };
            header?: never;
            path: {
                /** @example 1001 */
                room: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description As of `room_seq`. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["RoomSnapshot"];
                };
            };
            /** @description `bad_request`: The request cannot be understood */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unauthenticated`: Who is asking is not proven; `bad_signature`: The request's signature does not fit */
            401: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `forbidden`: Not allowed to this caller */
            403: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `room_unknown`: The room does not exist */
            404: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `internal`: Something went wrong in the engine; `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `overloaded`: Too much is under way; `shard_unavailable`: The account's shard is not served right now; `store_unavailable`: The store cannot be reached */
            503: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    transferBatch: {
        parameters: {
            query?: never;
            header?: {
                "Largesse-Deadline"?: components["schemas"]["DeadlineHeader"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "transfers": [
                 *         {
                 *           "credits": [
                 *             {
                 *               "amount": 5,
                 *               "asset": "coin",
                 *               "user_id": "3002"
                 *             }
                 *           ],
                 *           "debits": [
                 *             {
                 *               "amount": 5,
                 *               "asset": "coin"
                 *             }
                 *           ],
                 *           "event_id": "example-transfer",
                 *           "reference": "lunch",
                 *           "user_id": "3001"
                 *         }
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["TransferBatch"];
            };
        };
        responses: {
            /** @description What came of each. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["TransferResults"];
                };
            };
            /** @description `bad_request`: The request cannot be understood */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unauthenticated`: Who is asking is not proven; `bad_signature`: The request's signature does not fit */
            401: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `forbidden`: Not allowed to this caller */
            403: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `payload_too_large`: The body is too large */
            413: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unsupported_media_type`: The body must be JSON */
            415: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `batch_too_large`: Too many items in one request; `deadline_passed`: The caller's deadline has passed */
            422: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `shard_unavailable`: The account's shard is not served right now */
            503: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    balancesOfUser: {
        parameters: {
            query?: {
                after?: string;
            };
            header?: never;
            path: {
                /** @example 3001 */
                user: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description From the shard that owns them. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Balances"];
                };
            };
            /** @description `bad_request`: The request cannot be understood */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unauthenticated`: Who is asking is not proven; `bad_signature`: The request's signature does not fit */
            401: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `forbidden`: Not allowed to this caller */
            403: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `internal`: Something went wrong in the engine; `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `overloaded`: Too much is under way; `shard_unavailable`: The account's shard is not served right now; `store_unavailable`: The store cannot be reached */
            503: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    historyOfUser: {
        parameters: {
            query?: {
                /** @description By its name in the catalog. */
                asset?: string;
                /** @description From the page before. */
                cursor?: string;
                kind?: "gift" | "recharge" | "transfer" | "points";
                limit?: number;
                peer?: string;
                room?: string;
                /** @description Own events (the default), or what came from others. */
                side?: "sent" | "received";
                since?: string;
                until?: string;
            };
            header?: never;
            path: {
                /** @example 3001 */
                user: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page, newest first. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["HistoryPage"];
                };
            };
            /** @description `bad_request`: The request cannot be understood; `cursor_invalid`: The cursor was not made by this list */
            400: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `unauthenticated`: Who is asking is not proven; `bad_signature`: The request's signature does not fit */
            401: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `forbidden`: Not allowed to this caller */
            403: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `rate_limited`: Too many requests */
            429: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `internal`: Something went wrong in the engine; `service_internal`: Something went wrong at the edge */
            500: {
                headers: {
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description `overloaded`: Too much is under way; `shard_unavailable`: The account's shard is not served right now; `store_unavailable`: The store cannot be reached */
            503: {
                headers: {
                    /** @description Seconds. */
                    "Retry-After"?: number;
                    traceparent?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
}
