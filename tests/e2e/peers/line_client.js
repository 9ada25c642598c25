// node line_client.js PORT ROOT.pem NAME VERSION: sends its input over TLS and prints what comes back.
const fs = require('fs');
const tls = require('tls');
const [port, root, name, version] = process.argv.slice(2);

const socket = tls.connect({
    host: '127.0.0.1',
    port: Number(port),
    ca: fs.readFileSync(root),
    servername: name,
    minVersion: `TLSv${version}`,
    maxVersion: `TLSv${version}`,
}, () => {
    console.log('connected', socket.getProtocol());
    process.stdin.pipe(socket);
});
socket.on('data', data => process.stdout.write(data));
socket.on('end', () => console.error('the session ended'));
socket.on('error', error => {
    console.error(error.message);
    process.exit(1);
});
