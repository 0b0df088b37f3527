using System.Management.Automation;
using WandbLaunch.Foundation;

namespace WandbLaunch.PowerShell;

/// <summary>Takes spans of time as texts too: 2h, 1h30m, 90s, 02:00:00. A number alone is refused: PowerShell would take it for ticks, people for seconds or minutes.</summary>
[AttributeUsage(AttributeTargets.Property)]
public sealed class SpanAttribute : ArgumentTransformationAttribute
{
    /// <inheritdoc/>
    public override object? Transform(EngineIntrinsics engineIntrinsics, object? inputData)
    {
        switch (inputData is PSObject { BaseObject: { } plain } ? plain : inputData)
        {
            case null:
                return null;
            case TimeSpan span when span > TimeSpan.Zero:
                return span;
        }

        // As it was typed: to PowerShell 90s and 1d are numbers, of 16 bits and with decimals.
        var text = LanguagePrimitives.ConvertTo<string>(inputData);
        return SpanText.TryParse(text, out var read)
            ? read
            : throw new ArgumentTransformationMetadataException(
                $"'{text}' is not {SpanText.Forms}, or a TimeSpan longer than nothing."
            );
    }
}
