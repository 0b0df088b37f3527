using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.LocalServer;

namespace WandbLaunch.PowerShell;

/// <summary>Changes the role, the teams or the key of users of the launch server of this machine.</summary>
/// <remarks>What is not given stays. A change holds from the next request on; pages that are open learn of it within 15 seconds, and when somebody clicks in them. With -NewKey the old key is good for nothing more, nor are sign-ins to the page and addresses of files that came from it; the new one comes once, as a SecureString in Key.</remarks>
/// <example><para>Somebody joins a second team</para><code>Connect-Wandb -Local; Get-WandbLaunchServerUser | ForEach-Object { Set-WandbLaunchServerUser $_.Name -Team (@($_.Teams) + 'speech') }</code><para>-Team says all teams, not one more.</para></example>
/// <example><para>Somebody may only look from now on</para><code>Connect-Wandb -Local; Get-WandbLaunchServerUser ada* | Set-WandbLaunchServerUser -Role ReadOnly</code><para>The key stays.</para></example>
/// <example><para>A key was seen by others</para><code>Connect-Wandb -Local; Get-WandbLaunchServerUser ada* | Set-WandbLaunchServerUser -NewKey | ForEach-Object { $_.Key | ConvertFrom-SecureString -AsPlainText }</code><para>The old one ends at once.</para></example>
[Cmdlet(VerbsCommon.Set, "WandbLaunchServerUser", SupportsShouldProcess = true)]
[OutputType("WandbLaunch.LocalServer.LaunchServerUser")]
public sealed class SetWandbLaunchServerUserCommand : LaunchServerUserCommand
{
    /// <summary>Names of users; wildcards are allowed.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(ServerUserCompleter))]
    [SupportsWildcards]
    public string[] Name { get; set; } = [];

    /// <summary>Admin, Member or ReadOnly. Default: as it was.</summary>
    [Parameter]
    [ValidateSet("Admin", "Member", "ReadOnly")]
    public string? Role { get; set; }

    /// <summary>All teams of the user; @() for none. Default: as they were.</summary>
    [Parameter]
    [AllowEmptyCollection]
    [ArgumentCompleter(typeof(ServerTeamCompleter))]
    public string[]? Team { get; set; }

    /// <summary>Make another key. The old one is good for nothing more.</summary>
    [Parameter]
    public SwitchParameter NewKey { get; set; }

    /// <summary>Write the user. With -NewKey it is written in any case, for its key comes once.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        if (Role is null && Team is null && !NewKey)
        {
            throw new LaunchException(
                "NothingToSet",
                LaunchErrorCategory.InvalidArgument,
                "Nothing is to be changed. Give -Role, -Team or -NewKey.",
                Name
            );
        }

        var users = await UsersAsync();
        foreach (var name in await NamesAsync(users, Name))
        {
            try
            {
                if (
                    await ShouldProcessAsync(name, NewKey ? "Change the user, and make another key" : "Change the user")
                )
                {
                    var changed = await users.ChangeAsync(name, new UserChange(Role, Team, NewKey), Token);
                    if (PassThru || NewKey)
                    {
                        Output(changed);
                    }
                }
            }
            catch (LaunchException e)
            {
                Error(e, name);
            }
        }
    }
}
