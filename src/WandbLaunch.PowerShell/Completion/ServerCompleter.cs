using System.Collections;
using WandbLaunch.Foundation;
using WandbLaunch.LocalServer;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Completes addresses of servers: wandb.ai, and those that this machine knows.</summary>
public sealed class ServerCompleter : LaunchCompleter
{
    private protected override bool InFolder => true;

    private protected override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    )
    {
        var context = new LaunchContext();
        var environment = context.Environment;
        var found = new List<(string Value, string Tip)> { (WandbSettings.DefaultBaseUrl, "W&B's own") };
        Add(environment["WANDB_BASE_URL"], "WANDB_BASE_URL");
        Add(Setting(WandbSettings.LocalSettingsPath(environment, Folder)), "settings file of this folder");
        Add(Setting(WandbSettings.GlobalSettingsPath(environment)), "settings file");
        Add(WandbSession.Current?.BaseUrl, "the connection's");
        if (await LocalServers.FindAsync(LocalServers.DefaultPath(context), token) is { } server)
        {
            Add(
                server.Url,
                server.Running
                    ? "the launch server of this machine"
                    : "the launch server of this machine, which does not run now"
            );
        }

        foreach (var machine in Netrc.Machines(Netrc.FilePath(environment)))
        {
            // Without a scheme of its own: only a server of this machine is asked without TLS.
            var here = machine.Split(':')[0] is "localhost" or "127.0.0.1";
            Add((here ? "http://" : "https://") + machine, "netrc");
        }

        return found;

        void Add(string? url, string tip)
        {
            if (url?.TrimEnd('/') is { Length: > 0 } plain && !found.Exists(f => f.Value == plain))
            {
                found.Add((plain, tip));
            }
        }
    }

    private static string? Setting(string path) => IniFile.Read(path).GetValueOrDefault("base_url");
}
