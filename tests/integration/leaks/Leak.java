import java.util.*;

/** Keeps sessions until it holds so many MB, beside work that keeps nothing; then waits for the end of its input. */
public class Leak {
    static class Session {
        final byte[] page = new byte[200];
        final long number;
        Session(long number) { this.number = number; }
    }

    static final Map<Long, Session> cache = new HashMap<>();

    static void keepSession(long number) { cache.put(number, new Session(number)); }

    static int compute(long number) {
        StringBuilder text = new StringBuilder();
        for (int n = 0; n < 20; n++) text.append(number);
        return text.toString().hashCode();
    }

    public static void main(String[] arguments) throws Exception {
        long most = Long.parseLong(arguments[0]) * 1_000_000 / 320;
        int sum = 0;
        for (long number = 0; number < most; number++) {
            keepSession(number);
            sum += compute(number);
            if (number % 4000 == 0) Thread.sleep(20);
        }
        System.out.println("kept " + (sum == 7));
        while (System.in.read() >= 0) { }
    }
}
