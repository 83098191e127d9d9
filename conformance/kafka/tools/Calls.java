import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs the main methods of Kafka's tools one after the other in one process. A call on stdin is: the class, the
 * number of arguments, the arguments, and what the tool reads from its stdin. The answer on stdout is: the exit
 * code, and what the tool wrote to its stdout and stderr. Texts have their length before them.
 */
public class Calls {
    /** Unwinds a tool that wants to end the process. */
    static class Exited extends Error { }

    static volatile Integer code;
    static final List<Runnable> hooks = Collections.synchronizedList(new ArrayList<>());

    public static void main(String[] args) throws Exception {
        DataInputStream in = new DataInputStream(new FileInputStream(FileDescriptor.in));
        DataOutputStream out = new DataOutputStream(new FileOutputStream(FileDescriptor.out));
        Exit.Procedure exit = (status, message) -> {
            if (code == null)
                code = status;
            // What the tool still does would not happen, or not be seen, without this.
            PrintStream nowhere = new PrintStream(java.io.OutputStream.nullOutputStream());
            System.setOut(nowhere);
            System.setErr(nowhere);
            throw new Exited();
        };
        Exit.setExitProcedure(exit);
        Exit.setHaltProcedure(exit);
        Exit.setShutdownHookAdder((name, hook) -> hooks.add(hook));
        while (true) {
            String tool;
            try {
                tool = text(in);
            } catch (EOFException e) {
                System.exit(0);
                return;
            }
            String[] words = new String[in.readInt()];
            for (int i = 0; i < words.length; i++)
                words[i] = text(in);
            System.setIn(new ByteArrayInputStream(bytes(in)));
            ByteArrayOutputStream stdout = new ByteArrayOutputStream(), stderr = new ByteArrayOutputStream();
            System.setOut(new PrintStream(stdout, true, StandardCharsets.UTF_8));
            System.setErr(new PrintStream(stderr, true, StandardCharsets.UTF_8));
            out.writeInt(call(tool, words));
            System.out.flush();
            System.err.flush();
            for (ByteArrayOutputStream written : List.of(stdout, stderr)) {
                out.writeInt(written.size());
                written.writeTo(out);
            }
            out.flush();
        }
    }

    /** Runs a tool to its end, shutdown hooks included, and returns its exit code. */
    static int call(String tool, String[] words) throws Exception {
        code = null;
        hooks.clear();
        int thrown = 0;
        try {
            Class.forName(tool).getMethod("main", String[].class).invoke(null, (Object) words);
        } catch (java.lang.reflect.InvocationTargetException e) {
            if (!(e.getCause() instanceof Exited)) {
                System.err.println("Exception in thread \"main\" " + e.getCause());
                thrown = 1;
            }
        }
        int status = code != null ? code : thrown;
        for (Runnable hook : hooks) {
            Thread runs = new Thread(hook);
            runs.setDaemon(true);
            runs.start();
            runs.join(10_000);
        }
        return status;
    }

    static byte[] bytes(DataInputStream in) throws Exception {
        byte[] b = new byte[in.readInt()];
        in.readFully(b);
        return b;
    }

    static String text(DataInputStream in) throws Exception {
        return new String(bytes(in), StandardCharsets.UTF_8);
    }
}
