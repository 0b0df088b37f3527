using System.Management.Automation;
using WandbLaunch.Resources;

namespace WandbLaunch.PowerShell;

/// <summary>Makes a launch config.</summary>
/// <remarks>Makes the object that Start-WandbLaunch takes from the pipeline. ConvertTo-Json -Depth 9 turns it into a launch config file, with W&amp;B's own key names. Every key of W&amp;B's launch config is a parameter; -Config starts from a file, a text or a hashtable, and the other parameters win over it.</remarks>
/// <example><para>A folder with other arguments</para><code>New-WandbLaunchConfig ./train -EntryPoint 'python train.py' -Argument @{ lr = 0.01; epochs = 5 }</code><para>The hashtable becomes --epochs 5 --lr 0.01.</para></example>
/// <example><para>One config for each learning rate</para><code>0.1, 0.01, 0.001 | ForEach-Object { New-WandbLaunchConfig ./train -Argument "lr=$_" -Name "lr $_" }</code><para>Pipe them into Start-WandbLaunch.</para></example>
/// <example><para>Change one value of a config</para><code>New-WandbLaunchConfig -Config '{"uri": "./train", "resource": "local-process", "overrides": {"args": ["--lr", "0.1"]}}' -Argument 'lr=0.5'</code><para>A path to a JSON or YAML file does as well.</para></example>
[Cmdlet(VerbsCommon.New, "WandbLaunchConfig")]
[OutputType("WandbLaunch.LaunchConfig")]
public sealed class NewWandbLaunchConfigCommand : LaunchConfigCommand
{
    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var config = await BuildConfigAsync();
        if (config.Resource is not null)
        {
            _ = new ResourceCatalog(Context).Of(config);
        }

        Output(ToObject(config));
    }
}
