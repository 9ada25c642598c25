// The client of client.c with Node's tls, which has no call for a KeyUpdate. The same arguments, orders and answers.
const fs = require('fs');
const tls = require('tls');
const PERIOD = 251, CHUNK = 16384, AHEAD = 512 << 10, PATIENCE_MS = 30000;
const [port, root, name, version] = process.argv.slice(2);
const pattern = Buffer.from(Array.from({length: PERIOD + 65536}, (_, i) => i % PERIOD));
const authority = fs.readFileSync(root);
let session;

function fail(why) {
    console.log('failed', why);
    process.exit(1);
}

function answer(text = 'ok') {
    console.log(text);
}

function take(data) {
    const at = session.received % PERIOD;
    if (session.received + data.length > session.sent || !data.equals(pattern.subarray(at, at + data.length)))
        fail('a byte came back that was not sent');
    session.received += data.length;
    write();
    if (session.received >= session.end)
        settle('caughtUp');
}

function write() {
    if (session.running && session.sent - session.received < AHEAD)
        session.end = session.sent + CHUNK;
    while (session.sent < session.end && !session.socket.writableNeedDrain) {
        const at = session.sent % PERIOD, size = Math.min(session.end - session.sent, CHUNK);
        session.sent += size;
        session.socket.write(pattern.subarray(at, at + size));
    }
}

// Somebody may wait for 'caughtUp' or 'ended'.
function settle(what) {
    const waiting = session.waiting[what];
    delete session.waiting[what];
    if (waiting)
        waiting();
}

function until(what, problem) {
    return new Promise(resolve => {
        const timer = setTimeout(() => fail(problem), PATIENCE_MS);
        session.waiting[what] = () => {
            clearTimeout(timer);
            resolve();
        };
    });
}

async function catchUp() {
    write();
    if (session.received < session.end)
        await until('caughtUp', 'what was sent does not come back');
}

function connect(ticket) {
    session = {sent: 0, received: 0, end: 0, running: false, waiting: {}, ticket};
    return new Promise(resolve => {
        session.socket = tls.connect({
            host: '127.0.0.1', port: Number(port), ca: authority, servername: name, session: ticket,
            minVersion: `TLSv${version}`, maxVersion: `TLSv${version}`, noDelay: true, allowHalfOpen: true,
        }, resolve);
        session.socket.on('session', made => { session.ticket = made; });
        session.socket.on('data', take);
        session.socket.on('drain', write);
        session.socket.on('error', error => fail(error.code || error.message));
        session.socket.on('end', () => {
            session.ended = true;
            if (session.received < session.end)
                fail('the edge ended the session');
            settle('ended');
        });
    });
}

async function end() {
    session.socket.end();
    await awaitEnd();
}

async function awaitEnd() {
    if (!session.ended)
        await until('ended', 'no close_notify came');
}

function renegotiate(seconds) {
    const timer = setTimeout(() => fail('it waits for ever'), seconds * 1000);
    return new Promise(resolve => session.socket.renegotiate({}, error => {
        clearTimeout(timer);
        if (error)
            fail(error.code || error.message);
        resolve();
    }));
}

const orders = {
    'echo': async (count = 1, size = 100) => {
        for (let i = 0; i < Number(count); i++) {
            session.end += Number(size);
            await catchUp();
        }
    },
    'start': async () => {
        session.running = true;
        write();
    },
    'stop': async () => {
        session.running = false;
        await catchUp();
    },
    'renegotiate': async (seconds = PATIENCE_MS / 1000) => {
        await renegotiate(Number(seconds));
        return 'ok done';
    },
    'reconnect': async () => {
        await end();
        await connect(session.ticket);
    },
    'close': async () => {
        await end();
    },
    'await-close': async () => {
        await awaitEnd();
        session.socket.end();
    },
};

async function main() {
    await connect();
    answer(`connected ${process.versions.node} with ${process.versions.openssl.replace('+quic', '')}`);
    for await (const line of require('readline').createInterface({input: process.stdin})) {
        const [order, ...rest] = line.split(' ');
        answer(order in orders ? await orders[order](...rest) : fail('this library cannot'));
    }
    process.exit(0);
}

main().catch(error => fail(error.message));
