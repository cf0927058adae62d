// The program's side: calls come in, a line each, and results go out, a line each. It holds no test, and nothing that it
// says is believed beyond "this is what was returned", so it need not be kept from the program that it runs.
void assay_begin();

namespace assay {
static int results_fd;
template <class R, class... A> void serve(R (*f)(A...)) {
    for (const std::string &line : lines_of(all_of(0))) {
        Words w{line};
        w.next();
        std::string text;
        try {
            auto args = get_all<A...>(w);
            text = result_of<R>(f, args);
        } catch (const std::exception &e) {
            text = "! " + escaped(std::string(e.what()).substr(0, 1000));
        } catch (...) {
            text = "! 'an%20exception";
        }
        text += '\n';
        for (size_t at = 0; at < text.size();) {
            ssize_t n = write(results_fd, text.data() + at, text.size() - at);
            if (n <= 0) _exit(1);
            at += size_t(n);
        }
    }
    std::cout.flush();
    std::fflush(nullptr);
    _exit(0); // whatever the program has left running
}
} // namespace assay

int main() {
    assay::results_fd = dup(1);
    dup2(2, 1); // what the program prints is not among the results
    assay_begin();
}
