// java SoakClient.java KEY=VALUE…: many sessions in one process, two threads each; the same arguments, orders and answers as
// client.c. Key updates are the JDK's own: it makes them after as many bytes as jdk.tls.keyLimits says.
import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.Socket;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

public class SoakClient {
    static final int RUN = 256 << 10, PERIOD = 4194319; // a prime: see stream.c
    static final long STILL_MS = 60000;
    static final byte[] pattern = new byte[PERIOD + RUN];

    static final Map<String, String> options = new HashMap<>(Map.of("pace", "100"));
    static final List<Session> sessions = new ArrayList<>();
    static final AtomicInteger spoken = new AtomicInteger(), lost = new AtomicInteger(), ended = new AtomicInteger();
    static final AtomicInteger tls12 = new AtomicInteger(), tls13 = new AtomicInteger();
    static final AtomicLong messages = new AtomicLong(), bytes = new AtomicLong();
    static final Semaphore handshakes = new Semaphore(16);
    static final Object orders = new Object();
    static String order = "resume";

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

    static class Session {
        final int number, port;
        final String version, habit;
        final Random dice;
        SSLSocket socket;
        // Guarded by this.
        long sent, received, end, moved = System.currentTimeMillis(), longest;
        boolean closing, over;

        Session(int number, int[] ports) {
            this.number = number;
            int turn = number / 2, cycle = turn / ports.length % 16;
            port = ports[turn % ports.length];
            version = number % 2 == 1 ? "TLSv1.3" : "TLSv1.2";
            habit = cycle == 0 ? "streamer" : cycle <= 4 ? "sleeper" : "talker";
            dice = new Random(Long.parseLong(options.get("seed")) * 1000003 + number);
        }

        int between(int low, int high) {
            return low + dice.nextInt(high - low + 1);
        }

        int messageSize() {
            if (habit.equals("sleeper"))
                return between(1, 2000);
            if (habit.equals("streamer"))
                return between(1 << 20, 2 << 20);
            int ceiling = 1 << between(0, 18);
            return between(ceiling / 2 + 1, ceiling);
        }

        long pause() {
            int usual = habit.equals("sleeper") ? between(3000, 15000)
                : habit.equals("streamer") ? between(1000, 5000) : between(0, 4000);
            return usual * Long.parseLong(options.get("pace")) / 100;
        }

        int at(long position) {
            return (int) ((position + (long) number * 7919) % PERIOD);
        }

        synchronized boolean underWay() {
            return !over && (closing || received < end);
        }

        void lose(String why) {
            synchronized (this) {
                if (over)
                    return;
                over = true;
                notifyAll();
                if (lost.incrementAndGet() <= 20)
                    System.err.printf("soak-java: session %d (%s, port %d) lost: %s; sent %d, received %d, message ends at %d%n",
                        number, version, port, why, sent, received, end);
            }
            release();
        }

        void release() {
            ended.incrementAndGet();
            try {
                if (socket != null)
                    socket.close();
            } catch (Exception error) {
                // It is over in any case.
            }
        }

        void connect(SSLContext context) throws Exception {
            handshakes.acquire();
            try {
                Socket plain = new Socket("127.0.0.1", port);
                plain.setTcpNoDelay(true);
                SSLSocket made = (SSLSocket) context.getSocketFactory().createSocket(plain, options.get("name"), port, true);
                made.setEnabledProtocols(new String[] {version});
                SSLParameters parameters = made.getSSLParameters();
                parameters.setEndpointIdentificationAlgorithm("HTTPS");
                made.setSSLParameters(parameters);
                made.startHandshake();
                socket = made;
                (version.equals("TLSv1.3") ? tls13 : tls12).incrementAndGet();
            } finally {
                handshakes.release();
            }
        }

        void write() {
            try {
                OutputStream output = socket.getOutputStream();
                for (long count = 0; waitOrder(count == 0 ? 0 : pause()); count++) {
                    synchronized (this) {
                        end = sent + messageSize();
                        moved = System.currentTimeMillis();
                    }
                    while (sent < end) {
                        int size = (int) Math.min(end - sent, RUN);
                        int from = at(sent);
                        synchronized (this) {
                            sent += size;
                        }
                        output.write(pattern, from, size);
                    }
                    synchronized (this) {
                        while (received < end && !over)
                            wait();
                        if (over)
                            return;
                    }
                    messages.incrementAndGet();
                    if (count == 0)
                        spoken.incrementAndGet();
                }
                synchronized (this) {
                    closing = true;
                    moved = System.currentTimeMillis();
                }
                socket.shutdownOutput();
            } catch (Exception error) {
                lose(error.toString());
            }
        }

        // Sleeps, and on while the order is to pause; false when it is to finish or the session is over.
        boolean waitOrder(long ms) throws InterruptedException {
            long due = System.currentTimeMillis() + ms;
            synchronized (orders) {
                for (;;) {
                    long left = due - System.currentTimeMillis();
                    if (over)
                        return true; // the writer sees it
                    if (order.equals("finish"))
                        return false;
                    if (order.equals("resume") && left <= 0)
                        return true;
                    orders.wait(order.equals("resume") ? left : 0);
                }
            }
        }

        void read() {
            byte[] data = new byte[65536];
            try {
                InputStream input = socket.getInputStream();
                for (int size; (size = input.read(data)) >= 0;)
                    take(data, size);
                boolean clean;
                synchronized (this) {
                    clean = closing && !over;
                    over |= clean;
                }
                if (clean)
                    release();
                else
                    lose("the edge ended it");
            } catch (Exception error) {
                lose(error.toString());
            }
        }

        synchronized void take(byte[] data, int size) {
            int from = at(received);
            if (size > sent - received || !Arrays.equals(data, 0, size, pattern, from, from + size)) {
                int i = Math.max(0, Arrays.mismatch(data, 0, size, pattern, from, from + size));
                System.err.printf("soak-java: session %d (%s): byte %d is %d instead of %d; sent %d, message ends at %d%n",
                    number, version, received + i, data[i], pattern[from + i], sent, end);
                Runtime.getRuntime().halt(2);
            }
            long now = System.currentTimeMillis();
            longest = Math.max(longest, now - moved);
            moved = now;
            received += size;
            if (received == end)
                notifyAll();
            bytes.addAndGet(size);
        }

        void run(SSLContext context) {
            try {
                connect(context);
            } catch (Exception error) {
                lose(error.toString());
                return;
            }
            Thread reader = new Thread(null, this::read, "reader", 256 << 10);
            reader.setDaemon(true);
            reader.start();
            write();
        }
    }

    static void takeOrders() {
        try {
            BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
            for (String line; (line = lines.readLine()) != null;) {
                synchronized (orders) {
                    order = line;
                    orders.notifyAll();
                }
                if (line.equals("pause"))
                    tellPaused();
            }
        } catch (Exception error) {
            // Like the end of the input.
        }
        Runtime.getRuntime().halt(1);
    }

    static void tellPaused() throws InterruptedException {
        while (sessions.stream().anyMatch(Session::underWay))
            Thread.sleep(20);
        System.out.println("paused");
    }

    static void makePattern() {
        int state = (int) 2463534242L;
        for (int i = 0; i < PERIOD; i++) {
            state ^= state << 13;
            state ^= state >>> 17;
            state ^= state << 5;
            pattern[i] = (byte) (state >>> 11);
        }
        System.arraycopy(pattern, 0, pattern, PERIOD, RUN);
    }

    static void daemon(Runnable work) {
        Thread thread = new Thread(null, work, "session", 256 << 10);
        thread.setDaemon(true);
        thread.start();
    }

    public static void main(String[] arguments) throws Exception {
        for (String argument : arguments) {
            String[] parts = argument.split("=", 2);
            options.put(parts[0], parts[1]);
        }
        makePattern();
        SSLContext context = trusting(options.get("root"));
        int[] ports = Arrays.stream(options.get("ports").split(",")).mapToInt(Integer::parseInt).toArray();
        int count = Integer.parseInt(options.get("sessions")), first = Integer.parseInt(options.get("first"));
        for (int i = 0; i < count; i++)
            sessions.add(new Session(first + i, ports));
        for (Session session : sessions)
            daemon(() -> session.run(context));
        daemon(SoakClient::takeOrders);

        boolean told = false;
        while (ended.get() < count) {
            Thread.sleep(20);
            if (!told && spoken.get() + lost.get() >= count) {
                told = true;
                System.out.println("ready");
            }
            long now = System.currentTimeMillis();
            for (Session session : sessions) {
                if (session.underWay() && now > session.moved + STILL_MS)
                    session.lose("stands still");
            }
        }
        long longest = sessions.stream().mapToLong(session -> session.longest).max().orElse(0);
        System.out.printf("{\"client\": \"java\", \"sessions\": %d, \"tls12\": %d, \"tls13\": %d, \"messages\": %d, \"bytes\": %d, "
            + "\"key_updates\": 0, \"lost\": %d, \"longest_wait_ms\": %d}%n", count, tls12.get(), tls13.get(), messages.get(),
            bytes.get(), lost.get(), longest);
        System.out.flush();
        Runtime.getRuntime().halt(lost.get() > 0 ? 1 : 0);
    }
}
