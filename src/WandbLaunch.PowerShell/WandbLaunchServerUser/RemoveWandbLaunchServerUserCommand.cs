using System.Management.Automation;
using WandbLaunch.Foundation;

namespace WandbLaunch.PowerShell;

/// <summary>Removes users of the launch server of this machine.</summary>
/// <remarks>The key is good for nothing from then on, nor are open pages and addresses that were signed for it. What the user made stays, under the same name: projects, runs and queues are the team's, or an admin's to move. Agents and runs that use the key are refused at their next request. Asks before it removes.</remarks>
/// <example><para>Somebody leaves</para><code>Connect-Wandb -Local; Get-WandbLaunchServerUser ada* | Remove-WandbLaunchServerUser -Confirm:$false</code><para>For scripts: without being asked.</para></example>
/// <example><para>Who would go?</para><code>Connect-Wandb -Local; Remove-WandbLaunchServerUser ci* -WhatIf</code><para>Removes nobody.</para></example>
/// <example><para>Everybody of a team that is no more</para><code>Connect-Wandb -Local; Get-WandbLaunchServerUser | Where-Object { "$($_.Teams)" -eq 'vision' } | Remove-WandbLaunchServerUser -WhatIf</code><para>Those who are in no other.</para></example>
[Cmdlet(VerbsCommon.Remove, "WandbLaunchServerUser", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.High)]
[OutputType("WandbLaunch.LocalServer.LaunchServerUser")]
public sealed class RemoveWandbLaunchServerUserCommand : LaunchServerUserCommand
{
    /// <summary>Names of users; wildcards are allowed.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(ServerUserCompleter))]
    [SupportsWildcards]
    public string[] Name { get; set; } = [];

    /// <summary>Write the users that were removed, as they were.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var users = await UsersAsync();
        foreach (var name in await NamesAsync(users, Name))
        {
            try
            {
                if (await ShouldProcessAsync(name, "Remove the user"))
                {
                    var removed = await users.RemoveAsync(name, Token);
                    if (PassThru)
                    {
                        Output(removed);
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
