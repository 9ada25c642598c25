// The client of client.c with Java's SSLSocket. The same arguments, orders and answers. startHandshake() on a live session sends
// a KeyUpdate that asks for the peer's in TLS 1.3, and renegotiates in TLS 1.2. Small keyLimits (jdk.tls.keyLimits) make
// it renew its keys by itself.
import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.Socket;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Arrays;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

public class Client {
    static final int PERIOD = 251, CHUNK = 16384, AHEAD = 512 << 10, PATIENCE = 30;
    static final byte[] pattern = new byte[PERIOD + 65536];
    static String[] arguments;

    final SSLSocket socket;
    final CountDownLatch ended = new CountDownLatch(1);
    Thread writer;
    // Guarded by this.
    long sent, received;
    int handshakes;
    boolean running, renegotiating;

    static void fail(Object why) {
        System.out.println("failed " + why);
        Runtime.getRuntime().halt(1);
    }

    static SSLContext trusting(String root) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (FileInputStream file = new FileInputStream(root)) {
            store.setCertificateEntry("root", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }

    // The context offers by itself the session that it had with this host and port.
    Client(SSLContext context) throws Exception {
        int port = Integer.parseInt(arguments[0]);
        Socket plain = new Socket("127.0.0.1", port);
        plain.setTcpNoDelay(true);
        socket = (SSLSocket) context.getSocketFactory().createSocket(plain, arguments[2], port, true);
        socket.setEnabledProtocols(new String[] {"TLSv" + arguments[3]});
        SSLParameters parameters = socket.getSSLParameters();
        parameters.setEndpointIdentificationAlgorithm("HTTPS");
        socket.setSSLParameters(parameters);
        socket.startHandshake();
        socket.addHandshakeCompletedListener(event -> {
            synchronized (this) {
                handshakes++;
                notifyAll();
            }
        });
        daemon(this::read);
    }

    static Thread daemon(Runnable work) {
        Thread thread = new Thread(work);
        thread.setDaemon(true);
        thread.start();
        return thread;
    }

    void read() {
        byte[] data = new byte[65536];
        try {
            InputStream input = socket.getInputStream();
            for (int size; (size = input.read(data)) >= 0;) {
                take(data, size);
                if (mayRenegotiate())
                    socket.startHandshake();
            }
            ended.countDown();
        } catch (Exception error) {
            fail(error.getMessage());
        }
    }

    synchronized void take(byte[] data, int size) {
        int at = (int) (received % PERIOD);
        if (received + size > sent || !Arrays.equals(data, 0, size, pattern, at, at + size))
            fail("a byte came back that was not sent");
        received += size;
        notifyAll();
    }

    void send(int size) throws Exception {
        int at;
        synchronized (this) {
            at = (int) (sent % PERIOD);
            sent += size;
        }
        OutputStream output = socket.getOutputStream();
        output.write(pattern, at, size);
        output.flush();
    }

    synchronized boolean mayRun() throws InterruptedException {
        while (running && sent - received >= AHEAD)
            wait();
        return running;
    }

    void run() {
        try {
            while (mayRun())
                send(CHUNK);
        } catch (Exception error) {
            fail(error.getMessage());
        }
    }

    synchronized void setRunning(boolean now) {
        running = now;
        notifyAll();
    }

    synchronized void catchUp() throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE);
        while (received < sent) {
            if (System.nanoTime() > deadline)
                fail("what was sent does not come back");
            wait(1000);
        }
    }

    void awaitEnd() throws Exception {
        if (!ended.await(PATIENCE, TimeUnit.SECONDS))
            fail("no close_notify came");
        socket.close();
    }

    void close() throws Exception {
        socket.shutdownOutput();
        awaitEnd();
    }

    // The reader begins it when data has come: JSSE sends its ClientHello before it is ready for the answer, and another thread
    // that reads it by then ends the session ("Unexpected handshake message: server_hello").
    void renegotiate(long seconds) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        int before;
        boolean idle;
        synchronized (this) {
            before = handshakes;
            renegotiating = true;
            idle = !running;
        }
        if (idle)
            send(1);
        synchronized (this) {
            while (handshakes == before) {
                if (System.nanoTime() > deadline)
                    fail("it waits for ever");
                wait(100);
            }
        }
    }

    synchronized boolean mayRenegotiate() {
        boolean may = renegotiating && (running || received == sent);
        renegotiating &= !may;
        return may;
    }

    void echo(int count, int size) throws Exception {
        for (int i = 0; i < count; i++) {
            send(size);
            catchUp();
        }
    }

    static Client obey(Client client, SSLContext context, String[] order) throws Exception {
        switch (order[0]) {
        case "echo" -> client.echo(order.length > 1 ? Integer.parseInt(order[1]) : 1,
            order.length > 2 ? Integer.parseInt(order[2]) : 100);
        case "start" -> {
            client.setRunning(true);
            client.writer = daemon(client::run);
        }
        case "stop" -> {
            client.setRunning(false);
            client.writer.join();
            client.catchUp();
        }
        case "request" -> client.socket.startHandshake();
        case "renegotiate" -> client.renegotiate(order.length > 1 ? Long.parseLong(order[1]) : PATIENCE);
        case "reconnect" -> {
            client.close();
            return new Client(context);
        }
        case "close" -> client.close();
        case "await-close" -> client.awaitEnd();
        default -> fail("this library cannot");
        }
        return client;
    }

    public static void main(String[] given) throws Exception {
        arguments = given;
        for (int i = 0; i < pattern.length; i++)
            pattern[i] = (byte) (i % PERIOD);
        try {
            SSLContext context = trusting(arguments[1]);
            Client client = new Client(context);
            System.out.println("connected " + System.getProperty("java.version"));
            BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
            for (String line; (line = lines.readLine()) != null;) {
                client = obey(client, context, line.split(" "));
                System.out.println(line.startsWith("renegotiate") ? "ok done" : "ok");
            }
        } catch (Exception error) {
            fail(error.getMessage());
        }
        Runtime.getRuntime().halt(0);
    }
}
