// The test's side: runs the test with what the program has returned. It never shares a box with the program; what came
// from there is data. Exit status 42: passed; 43: not; anything else is a fault of the test.
public class Main {
    private static String[] calls, results;
    private static String folder;
    private static int at;

    static void end(boolean passed, String why) {
        try {
            java.nio.file.Files.write(java.nio.file.Paths.get(folder, "judgemessage.txt"), (why + "\n").getBytes(java.nio.charset.StandardCharsets.UTF_8));
        } catch (java.io.IOException e) {
            Runtime.getRuntime().halt(1);
        }
        Runtime.getRuntime().halt(passed ? 42 : 43);
    }

    static Object assayCall(String name, Object[] args) {
        if (at >= calls.length) end(false, "the test makes more calls than were recorded of it");
        if (!(name + AssayValues.putAll(args)).equals(calls[at]))
            end(false, "call " + (at + 1) + " is not the one that was recorded: its arguments come from an earlier result");
        if (at >= results.length) end(false, "the program ended before call " + (at + 1));
        return AssayValues.result(results[at++]);
    }

    public static void main(String[] args) throws Exception {
        folder = args[2];
        calls = AssayValues.lines(java.nio.file.Files.readAllBytes(java.nio.file.Paths.get(args[0])));
        results = AssayValues.lines(System.in.readAllBytes());
        if (results.length > calls.length) end(false, "it gave " + results.length + " results to " + calls.length + " calls");
        try {
            AssayTest.main(new String[0]);
        } catch (Throwable e) {
            String last = at > 0 ? results[at - 1] : "", why = String.valueOf(e);
            for (StackTraceElement t : e.getStackTrace())
                if (t.getClassName().startsWith("AssayTest")) {
                    why += "\nline " + t.getLineNumber() + " of the checker";
                    break;
                }
            end(false, why.substring(0, Math.min(why.length(), 1000)) + "\ncall " + at + " gave " + last.substring(0, Math.min(last.length(), 500)));
        }
        if (at != calls.length) end(false, "the test made " + at + " of " + calls.length + " calls");
        end(true, at + " calls");
    }
}

