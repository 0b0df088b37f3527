using System.Globalization;
using System.Text;

namespace WandbLaunch.Agents;

/// <summary>Agents as units of systemd.</summary>
internal sealed class SystemdService(ServicePlace place) : AgentService(place)
{
    private protected override AgentServiceKind Kind => AgentServiceKind.SystemdUnit;

    public override string DefinitionPath(string name) =>
        (Place.MachineWide ? "/etc/systemd/system" : Path.Combine(Place.Home, ".config", "systemd", "user"))
        + $"/{Unit(name)}";

    private static string Unit(string name) => $"wandb-launch-agent-{name}.service";

    private protected override IReadOnlyList<string[]> Activation(string name) =>
        [Systemctl("daemon-reload"), Systemctl("enable", Unit(name)), Systemctl("restart", Unit(name))];

    private protected override IReadOnlyList<string[]> Deactivation(string name) => [Systemctl("disable", Unit(name))];

    private string[] Systemctl(params string[] words) =>
        Place.MachineWide ? ["systemctl", .. words] : ["systemctl", "--user", .. words];

    private protected override string Content(AgentServiceRequest request, string about)
    {
        var text = new StringBuilder();
        text.Append(
            CultureInfo.InvariantCulture,
            $"# Made by Register-WandbLaunchAgent.\n[Unit]\nDescription={about.Replace("%", "%%", StringComparison.Ordinal)}\n"
        );
        text.Append(
            Place.MachineWide ? "Wants=network-online.target\nAfter=network-online.target docker.service\n" : ""
        );
        text.Append("StartLimitIntervalSec=0\n\n[Service]\nType=exec\n");
        text.Append(CultureInfo.InvariantCulture, $"ExecStart={string.Join(' ', request.Command.Select(Quote))}\n");
        foreach (var (name, value) in request.Variables)
        {
            text.Append(CultureInfo.InvariantCulture, $"Environment={Quote($"{name}={value}")}\n");
        }

        text.Append(Place.MachineWide && request.Account is { } account ? $"User={account}\n" : "");

        // 2 to 4 say how it ended, not that it broke. The runs have supervisors or engines of their own, and outlive a restart.
        text.Append(
            "Restart=on-failure\nRestartSec=10\nSuccessExitStatus=2 3 4\nKillMode=process\nTimeoutStopSec=30\nUMask=0077\n\n"
        );
        text.Append(
            CultureInfo.InvariantCulture,
            $"[Install]\nWantedBy={(Place.MachineWide ? "multi-user.target" : "default.target")}\n"
        );
        return text.ToString();

        // systemd.syntax(7) and systemd.service(5): quotes, backslashes, specifiers and variables.
        static string Quote(string word) =>
            "\""
            + word.Replace("\\", "\\\\", StringComparison.Ordinal)
                .Replace("\"", "\\\"", StringComparison.Ordinal)
                .Replace("%", "%%", StringComparison.Ordinal)
                .Replace("$", "$$", StringComparison.Ordinal)
            + "\"";
    }
}
