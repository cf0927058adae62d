import java.util.*;
import javax.annotation.processing.*;

@SupportedAnnotationTypes("*")
public class Main extends AbstractProcessor {
    static {
        try (java.io.FileReader f = new java.io.FileReader("@CANARY@")) {
            System.err.println("the-secret-" + f.read());
        } catch (Exception e) {
            System.err.println(e);
        }
    }
    public boolean process(Set<? extends javax.lang.model.element.TypeElement> a, RoundEnvironment r) {
        return false;
    }
    public static void main(String[] args) {
        System.out.println("held");
    }
}
