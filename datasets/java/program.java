// The program's side: calls come in, a line each, and results go out, a line each. It holds no test, and nothing that it
// says is believed beyond "this is what was returned", so it need not be kept from the program that it runs.
public class Main {
    public static void main(String[] args) throws Exception {
        java.io.FileOutputStream results = new java.io.FileOutputStream(java.io.FileDescriptor.out);
        String[] calls = AssayValues.lines(System.in.readAllBytes());
        System.setOut(System.err); // what the program prints is not among the results
        System.setIn(new java.io.ByteArrayInputStream(new byte[0]));
        for (String line : calls) {
            String text;
            try {
                AssayWords w = new AssayWords(line);
                String name = w.next();
                java.lang.reflect.Constructor<?> made = Solution.class.getDeclaredConstructor();
                made.setAccessible(true);
                text = AssayValues.call(made.newInstance(), name, AssayValues.getAll(w));
            } catch (Exception e) {
                text = AssayValues.thrown(e);
            }
            results.write((text + "\n").getBytes(java.nio.charset.StandardCharsets.UTF_8));
        }
        System.err.flush();
        Runtime.getRuntime().halt(0); // whatever the program has left running
    }
}
