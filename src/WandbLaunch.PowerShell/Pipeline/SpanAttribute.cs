using System.Management.Automation;
using WandbLaunch.Foundation;

namespace WandbLaunch.PowerShell;

/// <summary>Takes spans of time as texts too: 2h, 1h30m, 90s, 02:00:00. A number alone is refused: PowerShell would take it for ticks, people for seconds or minutes.</summary>
[AttributeUsage(AttributeTargets.Property)]
public sealed class SpanAttribute : ArgumentTransformationAttribute
{
    /// <inheritdoc/>
    public override object? Transform(EngineIntrinsics engineIntrinsics, object? inputData) =>
        (inputData is PSObject { BaseObject: { } plain } ? plain : inputData) switch
        {
            null => null,
            TimeSpan span when span > TimeSpan.Zero => span,
            string text when SpanText.TryParse(text, out var span) => span,
            var other => throw new ArgumentTransformationMetadataException(
                $"'{other}' is not {SpanText.Forms}, or a TimeSpan longer than nothing."
            ),
        };
}
