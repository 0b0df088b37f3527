using System.Text.RegularExpressions;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>Where a Slurm is reached and where its runs' folders are: this machine, or a login node by ssh.</summary>
/// <param name="Host">user@host, or user@host:port; null: this machine.</param>
/// <param name="Folder">Folder on the cluster's shared file system; null: the user's own data folder there.</param>
internal sealed partial record SlurmPlace(string? Host, string? Folder)
{
    private const string Scheme = "ssh://";

    /// <summary>The host's name without its port, as ssh takes it.</summary>
    internal string Target => PortForm().Replace(Host ?? "", "");

    internal string? Port => PortForm().Match(Host ?? "") is { Success: true } port ? port.Groups[1].Value : null;

    /// <summary>In one text, as a handle keeps it.</summary>
    public override string ToString() => (Host is null ? "" : Scheme + Host) + (Folder ?? "");

    internal static SlurmPlace Parse(string text)
    {
        if (!text.StartsWith(Scheme, StringComparison.Ordinal))
        {
            return new SlurmPlace(null, text.Length > 0 ? text : null);
        }

        var slash = text.IndexOf('/', Scheme.Length);
        return slash < 0
            ? new SlurmPlace(text[Scheme.Length..], null)
            : new SlurmPlace(text[Scheme.Length..slash], text[slash..]);
    }

    /// <summary>What a user gave.</summary>
    /// <exception cref="LaunchException"><c>SlurmHostInvalid</c>, <c>SlurmFolderInvalid</c>.</exception>
    internal static SlurmPlace Of(string? host, string? folder, string own)
    {
        if (host is not null)
        {
            host = host.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase) ? host[Scheme.Length..] : host;
            if (!HostForm().IsMatch(host))
            {
                throw new LaunchException(
                    "SlurmHostInvalid",
                    LaunchErrorCategory.InvalidArgument,
                    $"'{host}' is not a host for ssh. Write it as -SlurmHost user@login.example.org, with :port where it is not 22, or as a name of your ssh config.",
                    host
                );
            }
        }

        if (
            folder is not null
            && (!folder.StartsWith('/') || folder.Any(c => char.IsControl(c) || c is '|' or '%' or '\\'))
        )
        {
            throw new LaunchException(
                "SlurmFolderInvalid",
                LaunchErrorCategory.InvalidArgument,
                $"'{folder}' is not a folder that all nodes of the cluster could share. Write its absolute path there, without | % and \\: -SlurmFolder /scratch/me/wandb.",
                folder
            );
        }

        return new SlurmPlace(host, folder?.TrimEnd('/') ?? (host is null ? own : null));
    }

    [GeneratedRegex(
        @"^(?:[A-Za-z0-9_][A-Za-z0-9_.\\+-]*@)?(?:[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$"
    )]
    private static partial Regex HostForm();

    [GeneratedRegex(@":([0-9]{1,5})$")]
    private static partial Regex PortForm();
}
