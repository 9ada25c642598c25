// node client.js KEY=VALUE…: hundreds of sessions in one process; the same arguments, orders and answers as client.c, without
// key updates, which Node does not offer.
'use strict';
const fs = require('fs');
const tls = require('tls');

const options = {pace: '100'};
for (const argument of process.argv.slice(2)) {
    const at = argument.indexOf('=');
    options[argument.slice(0, at)] = argument.slice(at + 1);
}
const ports = options.ports.split(',').map(Number);
const count = Number(options.sessions);
const first = Number(options.first);
const pace = Number(options.pace) / 100;
const root = fs.readFileSync(options.root);

const RUN = 256 << 10;
const PERIOD = 4194319; // a prime: see stream.c
const STILL_MS = 60000;
const AT_ONCE = 16;
const TICK_MS = 20;

let dice = (Number(options.seed) * 2654435761 | 1) >>> 0;
function next() {
    dice ^= dice << 13;
    dice ^= dice >>> 17;
    dice ^= dice << 5;
    return dice >>>= 0;
}
const between = (low, high) => low + next() % (high - low + 1);

const pattern = Buffer.alloc(PERIOD + RUN);
for (let i = 0, state = 2463534242; i < PERIOD; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    pattern[i] = state >>> 11;
}
pattern.copy(pattern, PERIOD, 0, RUN);

function streamAt(session, position, size) {
    const at = (position + session.number * 7919) % PERIOD;
    return pattern.subarray(at, at + size);
}

const habits = ['streamer', 'sleeper', 'sleeper', 'sleeper', 'sleeper'];

function messageSize(habit) {
    if (habit === 'sleeper')
        return between(1, 2000);
    if (habit === 'streamer')
        return between(1 << 20, 2 << 20);
    const ceiling = 1 << between(0, 18);
    return between((ceiling >> 1) + 1, ceiling);
}

function pause(habit) {
    const ms = habit === 'sleeper' ? between(3000, 15000) : habit === 'streamer' ? between(1000, 5000) : between(0, 4000);
    return ms * pace;
}

let order = 'resume', readyTold = false, pausedTold = false;
let started = 0, standing = 0, spoken = 0, ended = 0, lost = 0, messages = 0, bytes = 0;
const versions = {'TLSv1.2': 0, 'TLSv1.3': 0};
const sessions = [];

function lose(session, why) {
    if (session.phase === 'ended')
        return;
    if (lost++ < 20)
        console.error(`soak-node: session ${session.number} (${session.version}, port ${session.port}) lost: ${why}; sent ` +
            `${session.sent}, received ${session.received}, message ends at ${session.end}`);
    release(session);
}

function release(session) {
    if (session.phase === 'ended')
        return;
    session.phase = 'ended';
    session.socket.destroy();
    ended++;
}

function altered(session, data, expected) {
    let i = 0;
    while (i < data.length && data[i] === expected[i])
        i++;
    console.error(`soak-node: session ${session.number} (${session.version}): byte ${session.received + i} is ${data[i]} instead ` +
        `of ${expected[i]}; sent ${session.sent}, message ends at ${session.end}`);
    process.exit(2);
}

function moved(session) {
    const now = Date.now();
    session.longest = Math.max(session.longest, now - session.moved);
    session.moved = now;
}

// Sends what the socket takes; "drain" calls again.
function sendMessage(session) {
    while (session.sent < session.end && !session.socket.writableNeedDrain) {
        const size = Math.min(session.end - session.sent, RUN);
        session.socket.write(streamAt(session, session.sent, size));
        session.sent += size;
    }
}

function beginMessage(session) {
    session.end = session.sent + messageSize(session.habit);
    session.moved = Date.now();
    sendMessage(session);
}

function take(session, data) {
    const size = data.length;
    const expected = streamAt(session, session.received, size);
    if (size > session.sent - session.received || size > RUN || !data.equals(expected))
        altered(session, data, expected);
    moved(session);
    session.received += size;
    bytes += size;
    if (session.received < session.end)
        return;
    messages++;
    if (session.messages++ === 0)
        spoken++;
    session.due = Date.now() + pause(session.habit);
}

function opened(session) {
    session.phase = 'open';
    standing++;
    versions[session.socket.getProtocol()]++;
    beginMessage(session);
}

function start() {
    const number = first + started++;
    const turn = number >> 1;
    const session = {
        number, version: number % 2 ? 'TLSv1.3' : 'TLSv1.2', port: ports[turn % ports.length],
        habit: habits[Math.floor(turn / ports.length) % 16] || 'talker', phase: 'handshake',
        sent: 0, received: 0, end: 0, messages: 0, due: 0, moved: Date.now(), longest: 0,
    };
    sessions.push(session);
    session.socket = tls.connect({
        host: '127.0.0.1', port: session.port, ca: root, servername: options.name,
        minVersion: session.version, maxVersion: session.version, noDelay: true,
    }, () => opened(session));
    session.socket.on('data', data => take(session, data));
    session.socket.on('drain', () => sendMessage(session));
    session.socket.on('end', () => session.phase === 'closing' ? release(session) : lose(session, 'the edge ended it'));
    session.socket.on('error', error => lose(session, error.code || error.message));
    session.socket.on('close', () => lose(session, 'the connection broke'));
}

function report() {
    const longest = Math.max(...sessions.map(session => session.longest));
    console.log(JSON.stringify({
        client: 'node', sessions: count, tls12: versions['TLSv1.2'], tls13: versions['TLSv1.3'], messages, bytes, key_updates: 0,
        lost, longest_wait_ms: longest,
    }));
    process.exit(lost > 0 ? 1 : 0);
}

function tick() {
    while (started < count && started < standing + lost + AT_ONCE)
        start();
    const now = Date.now();
    let talking = 0;
    for (const session of sessions) {
        const open = session.phase === 'open', underWay = session.received < session.end;
        const waits = session.phase === 'handshake' || session.phase === 'closing' || (open && underWay);
        talking += waits;
        if (waits && now > session.moved + STILL_MS) {
            lose(session, 'stands still');
        } else if (open && !waits && order === 'finish') {
            session.phase = 'closing';
            session.moved = now;
            session.socket.end();
        } else if (open && !waits && order === 'resume' && now >= session.due) {
            beginMessage(session);
        }
    }
    if (!readyTold && spoken + lost >= count) {
        readyTold = true;
        console.log('ready');
    }
    if (!pausedTold && order === 'pause' && talking === 0) {
        pausedTold = true;
        console.log('paused');
    }
    if (ended === count)
        report();
}

require('readline').createInterface({input: process.stdin}).on('line', line => {
    order = line;
    pausedTold = false;
}).on('close', () => process.exit(1));
setInterval(tick, TICK_MS);
