# No compiler made this: a script, or a program of the system's, in place of the artefact.
case @VARIANT@ in
script) printf '#!/bin/sh\necho smuggled\n' > main; chmod +x main ;;
system) cp /bin/echo main ;;
garbage) printf '\177ELF\2\1\1garbage' > main; chmod +x main ;;
plain) echo held > main ;;
setuid) cp /bin/id main; chmod 6755 main ;;
esac
