using GraphQL.Types;
using GraphQLParser.AST;

namespace WandbLaunch.Server.Schema;

/// <summary>A scalar that travels as a string.</summary>
internal sealed class TextScalar : ScalarGraphType
{
    internal TextScalar(string name) => Name = name;

    public override object? ParseLiteral(GraphQLValue value) =>
        value switch
        {
            GraphQLStringValue text => text.Value.ToString(),
            GraphQLNullValue => null,
            _ => ThrowLiteralConversionError(value),
        };

    public override object? ParseValue(object? value) => value?.ToString();

    public override object? Serialize(object? value) => value?.ToString();
}

/// <summary>A JSON value as it is.</summary>
internal sealed class JsonScalar : ScalarGraphType
{
    internal JsonScalar() => Name = "JSON";

    public override object? ParseLiteral(GraphQLValue value) => ThrowLiteralConversionError(value);

    public override object? ParseValue(object? value) => value;

    public override object? Serialize(object? value) => value;
}

/// <summary>A whole number of 64 bits.</summary>
internal sealed class LongScalar : ScalarGraphType
{
    internal LongScalar(string name) => Name = name;

    public override object? ParseLiteral(GraphQLValue value) =>
        value is GraphQLIntValue number
        && long.TryParse(number.Value, System.Globalization.CultureInfo.InvariantCulture, out var whole)
            ? whole
            : ThrowLiteralConversionError(value);

    public override object? ParseValue(object? value) =>
        value switch
        {
            null => null,
            long whole => whole,
            int whole => (long)whole,
            // What another language counts in floating point: 3e11 nanoseconds.
            double number when Math.Floor(number) == number && Math.Abs(number) < 1e18 => (long)number,
            decimal number when Math.Floor(number) == number && Math.Abs(number) < 1e18m => (long)number,
            _ => ThrowValueConversionError(value),
        };

    public override object? Serialize(object? value) => value;
}
