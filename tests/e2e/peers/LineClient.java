// java LineClient.java PORT ROOT.pem NAME VERSION: sends each line of its input over TLS and prints each line that comes back.
import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

public class LineClient {
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

    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(arguments[0]);
        Socket plain = new Socket("127.0.0.1", port);
        SSLSocket socket =
            (SSLSocket) trusting(arguments[1]).getSocketFactory().createSocket(plain, arguments[2], port, true);
        socket.setEnabledProtocols(new String[] {arguments[3].equals("1.2") ? "TLSv1.2" : "TLSv1.3"});
        SSLParameters parameters = socket.getSSLParameters();
        parameters.setEndpointIdentificationAlgorithm("HTTPS");
        socket.setSSLParameters(parameters);
        socket.startHandshake();
        System.out.println("connected " + socket.getSession().getProtocol());

        OutputStream output = socket.getOutputStream();
        BufferedReader input = new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.UTF_8));
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = lines.readLine()) != null;) {
            output.write((line + "\n").getBytes(StandardCharsets.UTF_8));
            output.flush();
            String answer = input.readLine();
            if (answer == null) {
                System.err.println("the session ended");
                System.exit(1);
            }
            System.out.println(answer);
        }
        socket.close();
    }
}
