# The build itself is the attacker: what the judge is to collect, or to write next, becomes a link out of the box.
case @VARIANT@ in
output) ln -s @CANARY@ main ;;
absolute) ln -s /etc/passwd main ;;
upward) ln -s ../../../../../../etc/passwd main ;;
source) rm -f main.sh && ln -s @CANARY@ main.sh && ln -s main.sh main ;;
place) rm -rf /box/app && ln -s / /box/app && ln -s /usr/bin/true main ;;
folder) mkdir real && echo x > real/x && ln -s real main ;;
inside) mkdir main && ln -s @CANARY@ main/x ;;
procfd) ln -s /proc/self/fd/1 main ;;
root) ln -s /proc/1/root main ;;
esac
exit 0
